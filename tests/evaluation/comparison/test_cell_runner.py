"""What a cell gives: the right numbers of the right images, whatever the batch."""

import torch

from tests.evaluation.comparison.problems import cell, mixture, runner
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.comparison.dataset import DataSet
from vml_fast.evaluation.distances import Features
from vml_fast.evaluation.interpolation import bicubic
from vml_fast.evaluation.measurements import make_operator, simulate
from vml_fast.evaluation.studies.flow import FlowEnd


def test_noise_belongs_to_the_image_and_the_seed():
    setting = runner(6)
    operator = setting.operator("sr4")
    whole = simulate(operator, setting.data.images, 0.1, setting.data.index)
    part = setting.data.part(3)
    torch.testing.assert_close(simulate(operator, part.images, 0.1, part.index), whole[::2])
    other = simulate(operator, part.images, 0.1, part.index, seed=1)
    noise = other - operator.forward(part.images)
    assert not torch.allclose(other, whole[::2])
    assert 0.05 < float(noise.std()) < 0.2


def test_hidden_pixels_stay_hidden():
    setting = runner(2)
    y = simulate(setting.operator("half"), setting.data.images, 0.3, setting.data.index)
    assert not y[..., 6:].any()
    assert y[..., :6].all()


def test_a_part_of_the_images_gives_what_the_whole_gives():
    setting = runner(4)
    whole = setting.run(cell("sr4", noise_std=0.05)).record
    part = setting.run(cell("sr4", noise_std=0.05, images=2)).record
    assert part["names"] == whole["names"][::2]
    for metric in ("psnr", "ssim", "residual"):
        first, second = whole["metrics"][metric][::2], part["metrics"][metric]
        torch.testing.assert_close(torch.tensor(first), torch.tensor(second), atol=1e-5, rtol=1e-4)


def test_a_metric_that_small_images_do_not_have_is_left_out():
    setting = runner(2)
    setting.data = DataSet("small", ["a", "b"], torch.zeros(2, 3, 8, 8), torch.arange(2))
    metrics = setting.run(Cell("half", "pseudo-inverse", 0.0, 0, 2)).record["metrics"]
    assert metrics.keys() == {"psnr", "residual"}


def test_images_are_measured_a_few_at_a_time():
    sizes = []

    def measure(images, truth):
        sizes.append(len(images))
        return torch.arange(len(images)).double()

    record = runner(20, measures={"lpips": measure}).run(Cell("half", "bicubic", 0.0, 0, 20)).record
    assert sizes == [16, 4]
    assert record["metrics"]["lpips"] == [*range(16), *range(4)]


def test_counts_are_the_network_passes():
    record = runner().run(cell()).record
    assert (record["denoiser_calls"], record["vjp_calls"]) == (12, 8)
    assert len(record["metrics"]["psnr"]) == 4


def test_a_method_that_cannot_do_a_task_says_so():
    setting = runner()
    setting._operators["plain"] = setting.operator("half") @ setting.operator("deblur-gauss")
    outcome = setting.run(cell("plain", "ddrm", steps=2))
    assert "SVD" in outcome.record["failed"]
    assert outcome.images is None


def test_what_a_method_is_told_may_differ_from_the_truth():
    setting = runner()
    as_if = Cell("sr4", "vml-map-pre", 0.1, 20, 4, {"steps": 4, "inner_steps": 2}, 0.0)
    told = setting.run(cell("sr4", noise_std=0.1)).record["metrics"]["residual"]
    ignored = setting.run(as_if).record["metrics"]["residual"]
    assert as_if.label == "vml-map-pre as if noiseless"
    assert max(ignored) < 1e-4 < min(told)


def test_distances_between_sets():
    features = [Features("pixels", lambda images: images.flatten(1))]
    record = runner(features=features).run(cell("sr4")).record
    assert record["sets"]["frechet"] > 0
    truth = runner(features=features)
    cells = Cell("denoise", "pseudo-inverse", 0.0, 0, 4)
    assert abs(truth.run(cells).record["sets"]["frechet"]) < 1e-4


def test_bicubic_fills_a_linear_ramp_exactly():
    ramp = torch.linspace(-1, 1, 12).expand(1, 3, 12, 12).contiguous()
    operator = make_operator("alternate-rows", (3, 12, 12))
    filled = bicubic(operator, operator.forward(ramp))
    torch.testing.assert_close(filled[:, :, :11], ramp[:, :, :11], atol=1e-4, rtol=0)


def test_published_tasks_by_name():
    assert make_operator("ddrm/sr4", (3, 16, 16)).measurement_shape == (3, 4, 4)


def test_consistency_models_are_handed_to_the_methods_that_need_one():
    one = cell("half", "map-ga-np", steps=2, inner_steps=1)
    assert "needs consistency" in runner().run(one).record["failed"]
    with_model = runner(consistency=FlowEnd(mixture(), steps=3))
    record = with_model.run(one).record
    assert (record["denoiser_calls"], record["vjp_calls"]) == (4, 2)
    assert "failed" not in with_model.run(cell("half", "ddrm", steps=2)).record
