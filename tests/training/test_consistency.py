"""Distillation of a consistency model: its loss on an exact case, its run, its command."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers")

from safetensors.torch import load_file

from tests.training.test_command import data, invoke  # noqa: F401
from tests.training.test_train import TINY, folder, trainer  # noqa: F401
from vml_fast.denoisers import ConsistencyDenoiser, load_denoiser
from vml_fast.denoisers.loading import PRIORS
from vml_fast.errors import InputError
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.schedules import edm_schedule
from vml_fast.training import emoji64_consistency, run_folder, train
from vml_fast.training.consistency_loss import (
    HUBER,
    ConsistencyNetwork,
    consistency_loss,
    follow,
    level_below,
    pseudo_huber,
)
from vml_fast.training.distill import ConsistencySettings, ConsistencyTrainer
from vml_fast.training.heldout import FLOW_LEVELS, flow_table
from vml_fast.training.sampling import flow_end, heun_step

SD, EPS = 0.5, 0.002


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(train, "SAMPLES", 2)


def column(values):
    return values[:, None, None, None]


def gaussian_denoiser(x, sigma):
    """Of images N(0, SD²)."""
    return column(SD**2 / (SD**2 + sigma**2)) * x


def gaussian_flow(x, sigma):
    """Where its ODE ends at EPS."""
    return column(((SD**2 + EPS**2) / (SD**2 + sigma**2)).sqrt()) * x


def test_the_level_below_is_the_next_of_the_schedule():
    levels = edm_schedule(18, sigma_min=EPS, sigma_max=80.0)
    below = level_below(levels, 18, EPS, 80.0)
    torch.testing.assert_close(below[:-1], levels[1:], rtol=1e-9, atol=0)
    assert float(below[-1]) == pytest.approx(EPS)


def test_the_end_of_a_gaussians_ode():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    for sigma in (0.1, 2.0, 80.0):
        exact = gaussian_flow(x, torch.full((2,), sigma, dtype=x.dtype))
        found = [flow_end(gaussian_denoiser, x, sigma, steps=steps) for steps in (10, 40)]
        errors = [float((each - exact).norm() / exact.norm()) for each in found]
        assert errors[1] < 0.02 and errors[1] < errors[0] / 8  # second order


def test_a_step_to_zero_is_the_denoised_image():
    x, sigma = torch.randn(2, 3, 4, 4), torch.tensor([0.3, 2.0])
    found = heun_step(gaussian_denoiser, x, sigma, torch.zeros(2))
    torch.testing.assert_close(found, gaussian_denoiser(x, sigma))


def test_the_exact_consistency_function_has_almost_no_loss_and_others_have():
    generator = torch.Generator().manual_seed(0)
    images, noise = (
        torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    sigma = torch.tensor([0.02, 0.3, 3.0, 60.0], dtype=torch.float64)
    below = level_below(sigma, 80, EPS, 80.0)

    def loss(student, target=gaussian_flow):
        return consistency_loss(
            student, target, gaussian_denoiser, SD * images, sigma, below, noise, SD
        )

    assert float(loss(gaussian_flow).max()) < 3e-3
    wrong = loss(lambda x, s: 1.1 * gaussian_flow(x, s))
    expected = 0.1 * gaussian_flow(SD * images + column(sigma) * noise, sigma)
    unit = column(sigma * SD / (sigma**2 + SD**2).sqrt())
    torch.testing.assert_close(wrong, pseudo_huber(expected / unit), rtol=0.1, atol=3e-3)
    assert float(loss(gaussian_denoiser, gaussian_denoiser)[1:3].min()) > 1e-2


def test_only_the_student_gets_a_gradient():
    weight = torch.tensor(1.1, requires_grad=True)
    other = torch.tensor(1.1, requires_grad=True)
    sigma = torch.tensor([0.5, 2.0])
    consistency_loss(
        lambda x, s: weight * x, lambda x, s: other * x, gaussian_denoiser,
        torch.randn(2, 3, 4, 4), sigma, sigma / 2, torch.randn(2, 3, 4, 4), SD,
    ).sum().backward()  # fmt: skip
    assert weight.grad is not None and other.grad is None


def test_the_distance_is_quadratic_near_zero_and_linear_far():
    e = torch.ones(1, 3, 4, 4, dtype=torch.float64)
    assert float(pseudo_huber(1e-2 * HUBER * e)) == pytest.approx(HUBER * 1e-4 / 2, rel=1e-3)
    assert float(pseudo_huber(e)) == pytest.approx(1.0, rel=1e-3)


def test_the_network_is_the_identity_at_the_smallest_level():
    network = ConsistencyNetwork(torch.nn.Module(), SD, 32.0, EPS)
    network.network.forward = lambda u, noise: 1e3 * u.cos()
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(network(x, torch.full((2,), EPS)), x)
    assert not torch.allclose(network(x, torch.full((2,), 0.1)), x)


def test_the_target_follows_by_its_decay():
    student, target = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    before = target.weight.clone()
    follow(target, student, 0.75)
    torch.testing.assert_close(target.weight, 0.75 * before + 0.25 * student.weight)


def test_the_flow_table_is_zero_for_the_flow_itself():
    images = torch.randint(0, 256, (2, 3, 4, 4)).to(torch.uint8)

    def flow(x, sigma):
        return flow_end(gaussian_denoiser, x, float(sigma[0]))

    exact, denoised = flow_table((flow, gaussian_denoiser), gaussian_denoiser, images, seed=0)
    assert set(exact) == {f"{sigma:g}" for sigma in FLOW_LEVELS}
    assert max(exact.values()) < 1e-6
    assert min(denoised.values()) > 1e-3


@pytest.fixture
def teacher(folder, tmp_path):  # noqa: F811
    """A prior folder of a tiny EDM prior."""
    trainer(folder, tmp_path / "teacher").run()
    return str(tmp_path / "teacher" / run_folder.PRIOR)


def distiller(folder, out, teacher, **options):  # noqa: F811
    changes = {"size": 8, "steps": 6, "batch": 4, "unshuffle": 2, "heldout_fraction": 0.3}
    settings = ConsistencySettings(teacher=teacher, **changes, channels=(16,))
    return ConsistencyTrainer(
        folder, out, settings, precision="float32", show_progress=False, **options
    )


def test_a_resumed_distillation_equals_an_uninterrupted_one(folder, tmp_path, teacher):  # noqa: F811
    whole = distiller(folder, tmp_path / "whole", teacher)
    assert whole.levels() == 10
    summary = whole.run()
    assert summary["final"] and whole.levels() == pytest.approx(20)
    assert summary["flow_rmse"].keys() == summary["flow_rmse_teacher"].keys()

    stopped = distiller(folder, tmp_path / "parts", teacher)
    step = stopped.train_step

    def stop_after_three():
        result = step()
        if stopped.step == 3:
            stopped.request_stop()
        return result

    stopped.train_step = stop_after_three
    assert not stopped.run()["final"]
    resumed = distiller(folder, tmp_path / "parts", teacher, resume=True)
    assert resumed.step == 3
    resumed.run()
    first, second = (
        load_file(tmp_path / run / run_folder.CHECKPOINT) for run in ("whole", "parts")
    )
    assert first.keys() == second.keys()
    assert any(name.startswith("target.") for name in first)
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
    with pytest.raises(InputError, match=r"teacher must be .*, as in the run to resume"):
        distiller(folder, tmp_path / "parts", f"{teacher}/", resume=True)


def test_the_target_follows_the_student(folder, tmp_path, teacher):  # noqa: F811
    run = distiller(folder, tmp_path / "run", teacher)
    before = {name: weight.clone() for name, weight in run.target.named_parameters()}
    run.train_step()
    student = dict(run.model.named_parameters())
    for name, weight in run.target.named_parameters():
        expected = 0.95 * before[name] + 0.05 * student[name]
        torch.testing.assert_close(weight, expected, atol=1e-7, rtol=1e-5)
    assert not all(torch.equal(student[name], before[name]) for name in before)


def test_the_result_loads_as_a_consistency_model_that_began_as_its_teacher(
    folder,  # noqa: F811
    tmp_path,
    teacher,
):
    run = distiller(folder, tmp_path / "run", teacher)
    began, teaching = run.model.network.state_dict(), run.teacher.network.state_dict()
    for name, weight in began.items():
        assert torch.equal(weight, teaching[name])
    run.run()
    assert not all(torch.equal(began[name], teaching[name]) for name in began)
    for name, weight in load_denoiser(teacher).network.state_dict().items():
        assert torch.equal(weight, teaching[name]), "the teacher stays as it is"
    x, sigma = torch.randn(2, 3, 8, 8), torch.tensor([0.1, 5.0])
    loaded = load_denoiser(str(tmp_path / "run" / run_folder.PRIOR))
    assert isinstance(loaded, ConsistencyDenoiser)
    torch.testing.assert_close(loaded(x, sigma), run.averaged(x, sigma), atol=1e-5, rtol=0)
    smallest = torch.full((2,), loaded.sigma_min)
    torch.testing.assert_close(loaded(x, smallest), x)
    card = (tmp_path / "run" / run_folder.PRIOR / "README.md").read_text("utf-8")
    assert "map-ga-np" in card and "Distance to the end of the ODE" in card
    with pytest.raises(InputError, match=r"of kind edm, got .* of kind consistency"):
        distiller(folder, tmp_path / "again", str(tmp_path / "run" / run_folder.PRIOR))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": 9}, "levels must be in 10…10000, got 9"),
        ({"target_decay": 1.0}, r"target_decay must be in \[0, 1\), got 1.0"),
        ({"batch": 0}, "batch must be positive, got 0"),
        ({"init": "emoji64"}, "init must be None, since the student begins as its teacher"),
    ],
)
def test_bad_settings_are_refused(change, message):
    good = ConsistencySettings(steps=1, teacher="emoji64")
    with pytest.raises(InputError, match=message):
        replace(good, **change)


def test_the_command_distils_a_prior(data, tmp_path, teacher):  # noqa: F811
    small = ["--size", 8, "--batch-size", 2, "--steps", 2, "--heldout-fraction", 0.0]
    out = tmp_path / "run"
    refused = invoke("--data", data, "--output", out, *small, "--consistency")
    assert refused.exit_code == 2
    assert "--init must name the prior to distil" in refused.stderr
    assert not out.exists()
    result = invoke("--data", data, "--output", out, *small, "--consistency", "--init", teacher)
    assert result.exit_code == 0, result.output
    assert isinstance(load_denoiser(str(out / "prior")), ConsistencyDenoiser)
    assert TINY.learning_rate == 6e-4  # of the other runs


def test_the_embedded_model_is_nearer_to_the_end_of_the_ode_than_its_teacher():
    weights = PRIORS / "emoji64-consistency" / "diffusion_pytorch_model.safetensors"
    if not weights.is_file():
        pytest.skip("emoji64-consistency is not in this checkout")
    assert weights.stat().st_size < 9e6
    model, teacher = load_denoiser("emoji64-consistency"), load_denoiser("emoji64")
    assert isinstance(model, ConsistencyDenoiser)
    clean = heldout_emoji(limit=2)[1]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.full((2,), 10.0)
    x = clean + column(sigma) * noise
    with torch.no_grad():
        end = flow_end(teacher, x, 10.0)
        errors = [float((each(x, sigma) - end).square().mean().sqrt()) for each in (model, teacher)]
    assert errors[0] < 0.8 * errors[1]


def test_a_finished_distillation_is_installed_with_its_card(
    folder,  # noqa: F811
    tmp_path,
    teacher,
    monkeypatch,
):
    monkeypatch.setattr(emoji64_consistency, "PRIORS", tmp_path / "priors")
    with pytest.raises(InputError, match="out must hold a finished run to install"):
        emoji64_consistency.install(tmp_path / "run")
    run = distiller(folder, tmp_path / "run", teacher)
    run.run()
    emoji64_consistency.install(tmp_path / "run")
    installed = tmp_path / "priors" / "emoji64-consistency"
    assert {path.name for path in installed.iterdir()} == {
        "config.json",
        "denoiser.json",
        "diffusion_pytorch_model.safetensors",
        "README.md",
    }
    x, sigma = torch.randn(2, 3, 8, 8), torch.tensor([0.1, 5.0])
    loaded = load_denoiser(str(installed))
    assert isinstance(loaded, ConsistencyDenoiser)
    torch.testing.assert_close(loaded(x, sigma), run.averaged(x, sigma), atol=1e-2, rtol=0)
