import json
from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers")

from safetensors.torch import load_file

from vml_fast.denoisers import load_denoiser
from vml_fast.errors import InputError
from vml_fast.training import run_folder, train
from vml_fast.training.data import ImageFolder
from vml_fast.training.ema import PowerEMA, power_exponent
from vml_fast.training.heldout import level_table, psnr
from vml_fast.training.precision import use_bf16
from vml_fast.training.prior_folder import load_prior
from vml_fast.training.schedule import learning_rate, progress
from vml_fast.training.settings import TrainingSettings
from vml_fast.training.train import Trainer

TINY = TrainingSettings(
    size=8, steps=6, batch=4, warmup_steps=2, channels=(16,), unshuffle=2, heldout_fraction=0.3
)


@pytest.fixture
def folder():
    images = torch.randint(0, 256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return ImageFolder([f"{index:02d}.png" for index in range(12)], images.to(torch.uint8))


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(train, "SAMPLES", 2)


def trainer(folder, out, settings=TINY, **options):
    return Trainer(folder, out, settings, precision="float32", show_progress=False, **options)


def card(run):
    return (run / run_folder.PRIOR / "README.md").read_text("utf-8")


def test_resumed_run_equals_an_uninterrupted_one(folder, tmp_path):
    whole = trainer(folder, tmp_path / "whole").run()
    assert whole["final"] and whole["step"] == 6

    stopped = trainer(folder, tmp_path / "parts")
    step = stopped.train_step

    def stop_after_three():
        result = step()
        if stopped.step == 3:
            stopped.request_stop()
        return result

    stopped.train_step = stop_after_three
    assert not stopped.run()["final"]
    resumed = trainer(folder, tmp_path / "parts", resume=True)
    assert resumed.step == 3
    resumed.run()

    logs = [run_folder.read_log(tmp_path / run) for run in ("whole", "parts")]
    assert logs[0][-1]["heldout_rmse"] == logs[1][-1]["heldout_rmse"]
    first, second = (
        load_file(tmp_path / run / run_folder.CHECKPOINT) for run in ("whole", "parts")
    )
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


def test_saved_prior_loads_and_equals_the_averaged_network(folder, tmp_path):
    run = trainer(folder, tmp_path / "run")
    summary = run.run()
    x, sigma = torch.randn(2, 3, 8, 8), torch.tensor([0.1, 5.0])
    expected = run.averaged(x, sigma)
    for name, tolerance in ((run_folder.PRIOR, 1e-5), (run_folder.PRIOR_FLOAT16, 1e-2)):
        denoiser = load_denoiser(str(tmp_path / "run" / name), dtype="float32")
        torch.testing.assert_close(denoiser(x, sigma), expected, atol=tolerance, rtol=0)
    stored = load_file(
        tmp_path / "run" / run_folder.PRIOR_FLOAT16 / "diffusion_pytorch_model.safetensors"
    )
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    record = json.loads((tmp_path / "run" / run_folder.PRIOR / "denoiser.json").read_text())
    assert record == {
        "kind": "edm",
        "image_shape": [3, 8, 8],
        "sigma_data": 0.5,
        "sigma_min": 0.002,
        "sigma_max": 80.0,
        "noise_scale": 32.0,
        "pixel_unshuffle": 2,
    }
    assert not list((tmp_path / "run").rglob("*part*"))
    assert max(summary["float16_drift"].values()) < 1e-2
    text = card(tmp_path / "run")
    assert "| 0.5 |" in text and f"{summary['parameters']:,}" in text


def test_init_starts_from_the_weights_of_a_prior(folder, tmp_path):
    first = trainer(folder, tmp_path / "first")
    first.run()
    prior = str(tmp_path / "first" / run_folder.PRIOR)
    second = trainer(folder, tmp_path / "second", replace(TINY, init=prior))
    started = dict(second.model.named_parameters())
    for name, weight in first.averaged.named_parameters():
        assert torch.equal(weight, started[name])
    with pytest.raises(InputError, match="init must be a prior for images of size 16, got"):
        trainer(
            ImageFolder(folder.names, folder.images.repeat(1, 1, 2, 2)),
            tmp_path / "third",
            replace(TINY, size=16, init=prior),
        )


def test_the_network_of_a_prior_is_what_summary_and_card_tell(folder, tmp_path):
    own = replace(TINY, channels=(16, 32), layers=2, attention=(4,), steps=1)
    summary = trainer(folder, tmp_path / "first", own).run()
    assert summary["settings"]["init"] is None
    prior = str(tmp_path / "first" / run_folder.PRIOR)
    assert "| initialized from | random weights |" in card(tmp_path / "first")
    summary = trainer(folder, tmp_path / "second", replace(TINY, steps=1, init=prior)).run()
    told = {name: summary["settings"][name] for name in ("channels", "layers", "attention", "init")}
    assert told == {"channels": (16, 32), "layers": 2, "attention": (4,), "init": prior}
    text = card(tmp_path / "second")
    assert "| channels; residual blocks | 16, 32; 2 |" in text
    assert "| attention at | 4 |" in text
    assert f"| initialized from | `{prior}` |" in text


def test_a_run_from_a_prior_is_not_resumed_without_it(folder, tmp_path):
    trainer(folder, tmp_path / "first", replace(TINY, channels=(16, 32), steps=1)).run()
    prior = str(tmp_path / "first" / run_folder.PRIOR)
    begun = replace(TINY, steps=1, init=prior)
    trainer(folder, tmp_path / "second", begun).run()
    longer = trainer(folder, tmp_path / "second", replace(begun, steps=2), resume=True)
    assert longer.step == 1
    with pytest.raises(InputError, match=r"init must be .*first/prior, as in the run .* got None"):
        trainer(folder, tmp_path / "second", replace(TINY, steps=2), resume=True)


def test_init_finds_a_prior_as_load_denoiser_does(folder, tmp_path, monkeypatch):
    first = trainer(folder, tmp_path / "emoji64")
    first.run()
    network, _ = load_prior(str(tmp_path / "emoji64"))  # a run folder stands for its prior
    for name, weight in first.averaged_network.named_parameters():
        assert torch.equal(weight, dict(network.named_parameters())[name])
    monkeypatch.chdir(tmp_path)
    assert load_prior("emoji64")[1].image_shape == [3, 64, 64], "the embedded one comes first"
    assert load_prior("./emoji64")[1].image_shape == [3, 8, 8]


def test_run_folder_is_not_overwritten_nor_resumed_with_other_settings(folder, tmp_path):
    trainer(folder, tmp_path).run()
    with pytest.raises(InputError, match="out must not hold a run"):
        trainer(folder, tmp_path)
    with pytest.raises(InputError, match="batch must be 4, as in the run to resume, got 2"):
        trainer(folder, tmp_path, replace(TINY, batch=2), resume=True)
    with pytest.raises(InputError, match="out must hold a checkpoint"):
        trainer(folder, tmp_path / "other", resume=True)


def test_a_loss_that_is_not_finite_stops_the_run_before_anything_is_saved(folder, tmp_path):
    run = trainer(folder, tmp_path)
    run.train_step = lambda: (float("nan"), 0.0)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        run.run()
    assert not list(tmp_path.iterdir())


def test_no_heldout_images_and_flips_are_allowed(folder, tmp_path):
    settings = replace(TINY, heldout_fraction=0.0, flip=True, steps=1)
    summary = trainer(folder, tmp_path, settings).run()
    assert "heldout_rmse" not in summary


def test_a_time_budget_ends_the_run_annealed(folder, tmp_path):
    settings = replace(TINY, steps=None, max_minutes=1.0)
    assert progress(settings, 10**6, 30.0) == 0.5
    assert learning_rate(settings, 100, 0.0) == settings.learning_rate
    assert learning_rate(settings, 100, 0.5) == pytest.approx(settings.learning_rate / 2)
    assert learning_rate(replace(settings, decay="linear"), 100, 1.0) == 0
    assert learning_rate(settings, 0, 0.0) < settings.learning_rate / 2  # warm-up
    long = replace(settings, warmup_steps=10**6)  # more steps than the run has
    assert learning_rate(long, 100, 0.05) == pytest.approx(settings.learning_rate / 2, rel=0.01)
    assert learning_rate(long, 100, 0.1) == learning_rate(settings, 100, 0.1)
    summary = trainer(folder, tmp_path, replace(settings, max_minutes=1e-3)).run()
    assert summary["final"] and summary["step"] >= 1


def test_average_has_the_asked_width():
    module = torch.nn.Linear(1, 1, bias=False)
    gamma = power_exponent(0.1)
    assert ((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) ** 0.5 == pytest.approx(0.1)
    average = PowerEMA(module, 0.1)
    for step in range(1, 201):
        module.weight.data.fill_(float(step))
        average.update(module, step)
    assert float(average.weights[0]) == pytest.approx(200 * (gamma + 1) / (gamma + 2), rel=0.01)


def test_heldout_error_of_the_noisy_image_is_sigma():
    images = torch.randint(0, 256, (8, 3, 32, 32)).to(torch.uint8)
    table = level_table(lambda x, s: x, images, seed=0)
    for sigma, rmse in table.items():
        assert rmse == pytest.approx(float(sigma), rel=0.02)
    assert psnr(2.0) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": None}, "steps or max_minutes must be given"),
        ({"steps": 0}, "steps must be positive, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, got nan"),
        ({"heldout_fraction": 1.0}, r"heldout_fraction must be in \[0, 1\), got 1.0"),
        ({"decay": "step"}, "decay must be cosine or linear, got 'step'"),
        ({"size": 9}, "size must be a positive multiple of 2 .*, got 9"),
        ({"channels": (20,)}, r"channels must be positive multiples of 16, got \[20\]"),
        ({"attention": (3,)}, r"attention must be among \[4\], got \[3\]"),
        ({"group_pattern": "["}, "group_pattern must be a regular expression"),
        ({"seed": -1}, r"seed must be in 0…2\^63-1, got -1"),
        ({"ema_width": 0.5}, r"ema_width must be in \(0, 0.28\], got 0.5"),
    ],
)
def test_bad_settings_are_refused(change, message, folder, tmp_path):
    with pytest.raises(InputError, match=message):
        trainer(folder, tmp_path, replace(TINY, **change))


def test_bfloat16_is_chosen_where_the_hardware_has_it_and_not_an_emulation(monkeypatch):
    def is_bf16_supported(including_emulation=True):
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert not use_bf16("auto", torch.device("cuda"))
    for capability in ("amx_bf16", "avx512_bf16", "avx2"):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=capability: {name: True})
        assert use_bf16("auto", torch.device("cpu")) == (capability != "avx2")


def test_bad_options_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"init must be a prior .*, got 'nothing' .*emoji64"):
        trainer(folder, tmp_path, replace(TINY, init="nothing"))
    for options, message in [
        ({"snapshot_minutes": 0}, "snapshot_minutes must be positive"),
        ({"device": "abacus"}, "device is 'abacus'; it must be auto, cpu, cuda"),
    ]:
        with pytest.raises(InputError, match=message):
            trainer(folder, tmp_path, **options)
    with pytest.raises(InputError, match="precision must be auto, float32 or bfloat16, got 'int8'"):
        Trainer(folder, tmp_path, TINY, precision="int8")
    (tmp_path / "denoiser.json").write_text("{")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="init must be a prior that can be read"):
        load_prior(str(tmp_path))
