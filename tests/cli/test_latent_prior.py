"""A latent prior on the command line."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("diffusers")

from tests.cli.conftest import run
from tests.denoisers.test_latent import write_prior
from vml_fast.evaluation.images import write_picture


@pytest.fixture
def prior(tmp_path):
    folder = tmp_path / "prior"
    write_prior(folder, {"kind": "latent", "scaling_factor": 1.0, "autoencoder_std": 0.1})
    return folder


def test_restore_takes_one(prior, tmp_path):
    picture = tmp_path / "a.png"
    write_picture(picture, torch.rand(3, 16, 16) * 2 - 1)
    out = tmp_path / "out"
    arguments = [
        "restore", picture, "--task", "sr4", "--simulate", "--prior", prior, "--steps", 3,
        "--inner-steps", 1, "--no-figures", "-o", out,
    ]  # fmt: skip
    result = run(*map(str, arguments))
    assert result.exit_code == 0, result.output
    (entry,) = json.loads((out / "restore.json").read_text())["results"]
    assert (entry["denoiser_calls"], entry["vjp_calls"]) == (6, 3)
    assert entry["residual"] < 1e-4
    assert (out / "a-restored.png").is_file()


@pytest.mark.parametrize("command", ["bench", "profile"])
def test_commands_that_measure_the_inner_step_say_that_they_take_none(prior, command, tmp_path):
    result = run(command, "--prior", str(prior), "-o", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "is a latent prior; this command takes one of images" in result.stderr
    assert result.stderr.count("\n") == 1
