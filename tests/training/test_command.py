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
    small = ["--size", 8, "--channels", 16, "--batch-size", 2, "--heldout-fraction", 0.4]
    result = invoke("--data", data, "--output", out, "--steps", 2, *small)
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
        (["--data", tmp_path, "--batch-size", 0], "--batch-size must be positive, got 0"),
        (["--data", tmp_path, "--channels", "48,x"], "channels must be whole numbers"),
    ]:
        result = invoke("--output", out, *arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ") and message in result.stderr
        assert result.stderr.count("\n") == 1
        assert not out.exists()


@pytest.fixture
def data(tmp_path):
    """A folder of four pictures."""
    folder = tmp_path / "data"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(4):
        pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


SHORT = ("--size", 8, "--batch-size", 2, "--steps", 2, "--heldout-fraction", 0.0)
SMALL = (*SHORT, "--channels", 16)

# name: options after the good ones, and what the sentence must hold
REFUSED = {
    "run folder below a file": (["--output", "a-file/x"], "--output folder"),
    "run folder that cannot be made": (["--output", "/proc/x"], "--output folder /proc/x"),
    "run folder of a long name": (["--output", "n" * 300], "--output nnn"),
    "pictures under a long name": (["--data", "n" * 300], "--data nnn"),
    "seed of 24 digits": (["--seed", 10**23], "--seed must be in 0…2^63-1, got 1000"),
    "negative seed": (["--seed", -1], "--seed must be in 0…2^63-1, got -1"),
    "device that holds no data": (["--device", "meta"], "--device is 'meta'; it must be auto, cpu"),
    "mean that is no number": (["--log-sigma-mean", "nan"], "--log-sigma-mean must be in"),
    "mean that overflows": (["--log-sigma-mean", "1e9"], "--log-sigma-mean must be in [-10, 10]"),
    "spread that overflows": (["--log-sigma-std", "100"], "--log-sigma-std must be at most 5"),
    "precision of integers": (["--dtype", "int8"], "--dtype must be auto, float32 or bfloat16"),
    "attention at no side": (["--attention", 3], "--attention must be among [4, 2, 1], got [3]"),
    "width before the pictures are read": (
        ["--data", "nowhere", "--channels", 20], "--channels must be positive multiples of 16",
    ),
    "images of a huge side": (["--size", 80_000], "--size must be in 1…7071, got 80000"),
    "nothing held out": (["--heldout-fraction", 0.05], "0 holds out nothing"),
    "width before the split": (
        ["--heldout-fraction", 0.05, "--ema-width", 9], "--ema-width must be in",
    ),
    "prior before the split": (["--heldout-fraction", 0.05, "--init", "no"], "--init must be"),
    "prior without a name": (["--init", ""], "--init must be a prior that can be read, got ''"),
    "sizes beside a prior": (
        ["--init", "emoji64", "--layers", 2], "--layers must be left out with --init emoji64",
    ),
    "sides beside a teacher": (
        ["--init", "emoji64", "--consistency", "--attention", "8,4"],
        "--attention must be left out with --init emoji64, whose network is taken, got (8, 4)",
    ),
    "resuming before the split": (
        ["--heldout-fraction", 0.05, "--resume"], "--output must hold a checkpoint",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_one_sentence_and_leaves_nothing(case, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("")
    options, message = REFUSED[case]
    before = sorted(tmp_path.rglob("*"))
    result = invoke("--data", data, "--output", "run", *SHORT, *options)
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert result.stderr.startswith("error: ") and message in result.stderr, result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_whose_log_is_damaged_is_not_resumed(data, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAMPLES", 2)
    out = tmp_path / "run"
    assert invoke("--data", data, "--output", out, *SMALL).exit_code == 0
    for damage in ("{", '{"loss": 1}\n', "[" * 100_000, None):
        (out / "log.jsonl").unlink() if damage is None else (out / "log.jsonl").write_text(damage)
        result = invoke("--data", data, "--output", out, *SMALL, "--resume", "--steps", 4)
        assert result.exit_code == 2, result.output + repr(result.exception)
        assert "--output must hold the whole log" in result.stderr
