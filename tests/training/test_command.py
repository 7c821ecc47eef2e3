import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("diffusers")

from vml_fast.cli.main import app
from vml_fast.training import train


def invoke(*arguments):
    return CliRunner().invoke(app, ["train-prior", *map(str, arguments)])


def test_a_folder_of_pictures_becomes_a_prior(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAMPLES", 2)
    generator = np.random.default_rng(0)
    data = tmp_path / "data"
    data.mkdir()
    for index in range(6):
        pixels = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / f"{index}.png")
    out = tmp_path / "run"
    small = ["--size", 8, "--channels", 16, "--batch", 2, "--heldout-fraction", 0.4]
    result = invoke("--data", data, "--out", out, "--steps", 2, *small)
    assert result.exit_code == 0, result.output
    for name in (
        "prior/config.json",
        "prior/denoiser.json",
        "prior/diffusion_pytorch_model.safetensors",
        "prior/README.md",
        "checkpoint.safetensors",
        "log.jsonl",
        "summary.json",
        "samples/step0000002.png",
    ):
        assert (out / name).is_file(), name


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path):
    out = tmp_path / "run"
    for arguments, message in [
        (["--data", tmp_path / "nowhere"], "data must be an existing folder of images"),
        (["--data", tmp_path, "--batch", 0], "batch must be positive, got 0"),
        (["--data", tmp_path, "--channels", "48,x"], "channels must be whole numbers"),
    ]:
        result = invoke("--out", out, *arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ") and message in result.stderr
        assert result.stderr.count("\n") == 1
        assert not out.exists()
