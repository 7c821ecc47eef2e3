"""The two runs of a latent prior, tiny."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers")

from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from vml_fast.cli.main import app
from vml_fast.denoisers import LatentDenoiser, load_denoiser
from vml_fast.errors import InputError
from vml_fast.training import emoji64_latent, latent
from vml_fast.training.autoencoder import AutoencoderTrainer, autoencoder_loss
from vml_fast.training.data import ImageFolder, to_model_range
from vml_fast.training.latent import LatentTrainer, train_latent_prior
from vml_fast.training.latent_settings import AutoencoderSettings, latent_settings
from vml_fast.training.run_folder import CHECKPOINT, SUMMARY, read_log
from vml_fast.training.settings import TrainingSettings
from vml_fast.training.split import Split

TINY = TrainingSettings(
    size=8, steps=10, batch=4, warmup_steps=2, channels=(16,), unshuffle=1, heldout_fraction=0.3
)
SETTINGS = latent_settings(TINY, autoencoder_channels=(16, 16), latent_channels=2)
OPTIONS = {"precision": "float32", "show_progress": False}


@pytest.fixture
def folder():
    images = torch.randint(0, 256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return ImageFolder([f"{index:02d}.png" for index in range(12)], images.to(torch.uint8))


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(latent, "SAMPLES", 2)


def stop_after(monkeypatch, kind, count):
    """Let runs of a class be stopped after a number of steps."""
    step = kind.train_step

    def stepping(self):
        result = step(self)
        if self.step == count:
            self.request_stop()
        return result

    monkeypatch.setattr(kind, "train_step", stepping)


def test_the_budget_is_divided_between_the_halves():
    assert (SETTINGS.autoencoder.steps, SETTINGS.prior.steps) == (4, 6)
    assert SETTINGS.autoencoder.latent_side == 4
    timed = latent_settings(replace(TINY, steps=None, max_minutes=60.0), autoencoder_share=0.25)
    assert (timed.autoencoder.max_minutes, timed.prior.max_minutes) == (15.0, 45.0)


@pytest.mark.parametrize("half", [AutoencoderTrainer, LatentTrainer])
def test_resumed_runs_equal_an_uninterrupted_one(folder, tmp_path, monkeypatch, half):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train_latent_prior(folder, whole, SETTINGS, **OPTIONS)["final"]
    with monkeypatch.context() as patch:
        stop_after(patch, half, 2)
        assert not train_latent_prior(folder, parts, SETTINGS, **OPTIONS)["final"]
    assert train_latent_prior(folder, parts, SETTINGS, resume=True, **OPTIONS)["final"]
    for name in ("autoencoder/" + CHECKPOINT, CHECKPOINT):
        first, second = load_file(whole / name), load_file(parts / name)
        assert first.keys() == second.keys()
        for key, weight in first.items():
            assert torch.equal(weight, second[key]), key
    assert read_log(whole)[-1]["heldout_rmse"] == read_log(parts)[-1]["heldout_rmse"]


def test_what_is_saved_is_what_was_trained(folder, tmp_path):
    trained = []
    run = LatentTrainer.run

    class Kept(LatentTrainer):
        def run(self):
            trained.append(self)
            return run(self)

    latent_trainer = latent.LatentTrainer
    latent.LatentTrainer = Kept
    try:
        summary = train_latent_prior(folder, tmp_path, SETTINGS, **OPTIONS)
    finally:
        latent.LatentTrainer = latent_trainer
    (trainer,) = trained
    prior = load_denoiser(tmp_path / "prior")
    assert isinstance(prior, LatentDenoiser)
    assert prior.latent_shape == (2, 4, 4) == tuple(summary["latent"]["latent_shape"])
    x = to_model_range(folder.images[:3])
    z = prior.encode(x)
    assert torch.equal(z, trainer.autoencoder.encode(x))
    sigma = torch.tensor([0.1, 1.0, 10.0])
    # Rounding: the two run in different memory formats. Weights in float16 would be 1e-3 apart.
    torch.testing.assert_close(prior(z, sigma), trainer.averaged(z, sigma), rtol=1e-4, atol=1e-5)
    assert prior.autoencoder_std == pytest.approx(
        json.loads((tmp_path / "autoencoder" / SUMMARY).read_text())["heldout_rmse"], rel=1e-3
    )
    half = load_denoiser(tmp_path / "prior-float16")
    torch.testing.assert_close(half(z, sigma), prior(z, sigma), rtol=0.02, atol=0.02)
    assert "load_denoiser" in (tmp_path / "prior" / "README.md").read_text()


def test_latents_have_the_mean_and_the_deviation_the_denoiser_is_made_for(folder, tmp_path):
    train_latent_prior(folder, tmp_path, SETTINGS, **OPTIONS)
    split = _split()
    trainer = LatentTrainer(folder, split, tmp_path, SETTINGS, resume=True, **OPTIONS)
    z = trainer.autoencoder.encode(to_model_range(folder.images[:9]))
    assert float(z.std()) == pytest.approx(0.5, rel=1e-3)
    assert abs(float(z.mean())) < 1e-3


def _split():
    return Split([[i] for i in range(9)], [[9], [10], [11]])


def test_the_autoencoder_learns(folder, tmp_path):
    settings = AutoencoderSettings(
        size=8, steps=150, batch=9, warmup_steps=2, channels=(16,), unshuffle=2, latent_channels=8
    )
    trainer = AutoencoderTrainer(folder, _split(), tmp_path, settings, **OPTIONS)
    before = trainer.train_step()[0]
    trainer.run()
    losses = [entry["loss"] for entry in read_log(tmp_path) if "loss" in entry]
    assert losses[-1] < 0.7 * before


def test_the_loss_is_zero_only_for_the_image_itself_and_standard_latents():
    settings = AutoencoderSettings(size=8, steps=1, channels=(16,), kl_weight=0.5)
    x = torch.rand(2, 3, 8, 8)
    zero = torch.zeros(2, 4, 4, 4)
    assert autoencoder_loss(x, x, zero, zero, settings) == 0
    assert autoencoder_loss(x + 0.2, x, zero, zero, settings) == pytest.approx(0.2, rel=1e-5)
    ramp = torch.arange(8.0) * 0.1
    slope = autoencoder_loss(x + ramp, x, zero, zero, settings)
    assert slope == pytest.approx(float(ramp.mean()) + 0.1, rel=1e-5)
    assert autoencoder_loss(x, x, zero + 2.0, zero, settings) == pytest.approx(0.5 * 2.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latent_channels": 0}, "latent_channels must be a whole number"),
        ({"autoencoder_share": 1.0}, "autoencoder_share must be in"),
        ({"autoencoder_channels": (20,)}, "channels must be positive multiples of 16"),
    ],
)
def test_bad_settings_get_one_sentence(change, words):
    with pytest.raises(InputError, match=words):
        latent_settings(TINY, **change)


def test_a_latent_prior_begins_with_random_weights():
    with pytest.raises(InputError, match="init must be None for a latent prior, got emoji64"):
        latent_settings(replace(TINY, init="emoji64"))


def test_the_denoisers_sizes_are_those_of_the_latents():
    image = TrainingSettings(size=64, steps=10, channels=(96, 144), attention=(8,))
    assert latent_settings(image).autoencoder.latent_side == 16
    with pytest.raises(InputError, match=r"attention must be among \[16, 8\], got \[32\]"):
        latent_settings(replace(image, attention=(32,)))


def test_a_run_folder_is_neither_overwritten_nor_resumed_from_nothing(folder, tmp_path):
    train_latent_prior(folder, tmp_path, SETTINGS, **OPTIONS)
    with pytest.raises(InputError, match="out must not hold a run unless it is resumed"):
        train_latent_prior(folder, tmp_path, SETTINGS, **OPTIONS)
    with pytest.raises(InputError, match="must hold a checkpoint of train-prior to resume"):
        train_latent_prior(folder, tmp_path / "other", SETTINGS, resume=True, **OPTIONS)
    other = replace(SETTINGS, prior=replace(SETTINGS.prior, batch=2))
    with pytest.raises(InputError, match="batch must be 4, as in the run to resume"):
        train_latent_prior(folder, tmp_path, other, resume=True, **OPTIONS)


def test_the_command_trains_both_halves_and_says_what_is_wrong(folder, tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for name, pixels in zip(folder.names, folder.images, strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(data / name)
    small = ["--size", 8, "--channels", 16, "--unshuffle", 1, "--batch-size", 2, "--steps", 5]
    given = ["train-prior", "--data", data, "--output", out, "--latent", *small]
    given += ["--heldout-fraction", 0.4, "--autoencoder-channels", "16,16"]

    def invoke(*more):
        return CliRunner().invoke(app, [str(part) for part in (*given, *more)])

    for more, message in (
        (["--latent-channels", 0], "--latent-channels must be a whole number"),
        (["--autoencoder-share", 0], "--autoencoder-share must be in (0, 1)"),
        (["--autoencoder-channels", "a"], "--autoencoder-channels must be whole numbers"),
        (["--init", "emoji64"], "--latent must be given without"),
        (["--attention", 8], "--attention must be among [4], got [8]"),
        (["--resume"], "--output must hold a checkpoint"),
    ):
        result = invoke(*more)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
        assert message in result.stderr
        assert not out.exists()
    result = invoke("--attention", 4)
    assert result.exit_code == 0, result.output
    assert "trained for 3 steps" in result.output
    assert load_denoiser(out / "prior").latent_shape == (8, 4, 4)


def test_a_finished_run_is_installed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(emoji64_latent, "PRIORS", tmp_path / "priors")
    with pytest.raises(InputError, match="must hold a finished run"):
        emoji64_latent.install(tmp_path / "run")
    train_latent_prior(folder, tmp_path / "run", SETTINGS, **OPTIONS)
    emoji64_latent.install(tmp_path / "run")
    place = tmp_path / "priors" / emoji64_latent.NAME
    assert load_denoiser(place).latent_shape == (2, 4, 4)
    card = (place / "README.md").read_text()
    assert "8x16x16" in card and "| steps x batch | 6 x 4 |" in card
