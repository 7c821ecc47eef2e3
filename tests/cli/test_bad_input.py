"""Bad input: exit code 2, one clear sentence, no traceback, nothing written."""

import hashlib
import io
import json
import os
import re
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import FAST, SIZE, picture, run, save

SMALL = SIZE // 4


def _huge_png(side):
    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _encoded(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, **options)
    return buffer.getvalue()


def _mask(path, rows, side=SIZE):
    array = np.zeros((side, side), np.uint8)
    array[rows] = 255
    save(path, array)


@pytest.fixture
def files(tmp_path, prior):
    """Good and broken files of every kind; the working folder of a case."""
    folder = tmp_path
    save(folder / "good.png", picture(0))
    save(folder / "good.webp", picture(1))
    save(folder / "small.png", picture(0, SMALL, SMALL))
    save(folder / "wide.png", picture(0, 10, 30))
    (folder / "empty-folder").mkdir()
    (folder / "notes.txt").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    (folder / "truncated.png").write_bytes(_encoded(noise, format="PNG")[:400])
    (folder / "truncated.jpg").write_bytes(_encoded(noise, format="JPEG")[:400])
    (folder / "huge.png").write_bytes(_huge_png(9000))
    (folder / "bomb.png").write_bytes(_huge_png(60_000))
    frames = [Image.new("RGB", (SIZE, SIZE), color) for color in ("red", "blue")]
    frames[0].save(folder / "animated.webp", save_all=True, append_images=frames[1:])
    os.mkfifo(folder / "pipe.png")
    (folder / ("long" * 60 + ".png")).write_bytes(b"")
    _arrays(folder)
    _mask(folder / "mask.png", slice(4, 8))
    _mask(folder / "mask-all.png", slice(0, SIZE))
    _mask(folder / "mask-none.png", slice(0, 0))
    _mask(folder / "mask-large.png", slice(4, 8), side=20)
    _priors(folder, prior)
    (folder / "mixed").mkdir()
    save(folder / "mixed" / "a.png", picture(0))
    (folder / "mixed" / "b.png").write_bytes(b"")
    (folder / "a-file").write_text("")
    (folder / "half-made").mkdir()
    (folder / "half-made" / "measurements").write_text("")
    return folder


def _arrays(folder):
    measured = np.zeros((3, SMALL, SMALL), np.float32)
    np.save(folder / "measured.npy", measured)
    np.save(folder / "integers.npy", measured.astype(np.uint8))
    np.save(folder / "complex.npy", measured.astype(np.complex64))
    np.save(folder / "nan.npy", np.full_like(measured, np.nan))
    np.save(folder / "infinite.npy", np.full_like(measured, np.inf))
    np.save(folder / "batched.npy", measured[None])
    np.save(folder / "levels.npy", measured + 128)
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(folder / "archive.npz", x=measured)
    (folder / "archive.npz").rename(folder / "archive.npy")
    (folder / "short.npy").write_bytes((folder / "measured.npy").read_bytes()[:-4])
    np.save(folder / "clean-levels.npy", np.full((3, SIZE, SIZE), 255.0))
    np.save(folder / "clean.npy", np.zeros((3, SIZE, SIZE)))
    np.save(folder / "clean-flat.npy", np.zeros((SIZE, SIZE)))


def _priors(folder, prior):
    for name in ("prior-damaged", "prior-short", "prior-record", "prior-deep", "prior-text"):
        shutil.copytree(prior, folder / name)
    (folder / "prior-damaged" / "config.json").write_text("{")
    (folder / "prior-record" / "denoiser.json").write_text('{"kind": "unheard-of"}')
    (folder / "prior-deep" / "denoiser.json").write_text("[" * 100_000)
    (folder / "prior-text" / "denoiser.json").write_text('{"kind": "edm", "sigma_data": "x"}')
    weights = folder / "prior-short" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def _snapshot(folder):
    """Every path below a folder with its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        found[str(path.relative_to(folder))] = content
    return found


def _check_one_sentence(result, *words):
    assert result.exit_code == 2, result.output + repr(result.exception)
    message = result.stderr
    assert result.stdout == ""
    assert re.fullmatch(r"error: [^\n]+[^.]\.\n", message), message
    assert not re.search(r"[.!?] [A-Z]", message), f"more than one sentence: {message}"
    assert "Traceback" not in message
    for word in words:
        assert word in message, message


# name: the arguments of `restore` after the good ones, and words that the sentence must hold.
# A later option takes the place of an earlier one; a first word without -- is the input.
RESTORE = {
    "missing file": ("no.png", "no.png does not exist"),
    "unknown traces": ("good.png --traces all", "--traces", "'all'", "hutchinson"),
    "folder without images": ("empty-folder", "holds no images"),
    "unknown suffix": ("notes.txt", ".txt"),
    "equal names": ("good.png good.webp", "good.png", "good.webp"),
    "the same file twice": ("good.png good.png", "good.png"),
    "empty picture": ("empty.png", "empty.png"),
    "text as picture": ("text.png", "text.png", "PNG, JPEG or WebP"),
    "truncated PNG": ("truncated.png", "truncated"),
    "truncated JPEG": ("truncated.jpg", "truncated"),
    "huge picture": ("huge.png", "9000×9000", "50,000,000"),
    "decompression bomb": ("bomb.png", "50,000,000"),
    "animated picture": ("animated.webp", "animated"),
    "pipe": ("pipe.png", "neither a file nor a folder"),
    "long name": ("long" * 60 + ".png", "240 bytes"),
    "name that no file can have": ("n" * 300 + ".png", "input nnn", "too long"),
    "mask that no file can be": ("--task inpaint --mask " + "n" * 300, "mask nnn", "too long"),
    "output that no folder can be": ("--output " + "n" * 300, "output nnn", "too long"),
    "output beside its inputs": ("mixed/a.png --output mixed", "folder of the input mixed/a.png"),
    "a later file is bad": ("mixed", "b.png"),
    "integer array": ("integers.npy", "uint8"),
    "complex array": ("complex.npy", "complex64"),
    "NaN": ("nan.npy", "NaN"),
    "infinity": ("infinite.npy", "infinity"),
    "pickled array": ("objects.npy", "objects.npy"),
    "archive of arrays": ("archive.npy", "archive"),
    "truncated array": ("short.npy", "short.npy"),
    "measurement with a batch": ("batched.npy @given", "(1, 3, 4, 4)", "(3, 4, 4)"),
    "measurement of another shape": ("measured.npy --task sr2 @given", "(3, 4, 4)", "(3, 8, 8)"),
    "measurement in 0…255": ("levels.npy @given", "norm", "[-1, 1]"),
    "clean array of another shape": ("clean-flat.npy", "(16, 16)", "(3, 16, 16)"),
    "clean array in 0…255": ("clean-levels.npy", "255", "[-1, 1]"),
    "clean picture of another size": ("wide.png", "30×10", "16×16", "--resize"),
    "measurement of another size": ("wide.png @given", "30×10", "4×4", "--resize"),
    "clean picture as measurement": ("good.png @given", "16×16", "4×4", "--simulate"),
    "picture of a vector": ("good.png --task walsh-hadamard @given", "(192,)", ".npy"),
    "unknown task": ("--task sr5", "'sr5'", "sr4"),
    "unknown method": ("--method vml", "'vml'", "vml-map-pre"),
    "unknown prior": ("--prior no-such", "'no-such'", "emoji64"),
    "prior folder without network": ("--prior empty-folder", "empty-folder"),
    "prior with a damaged configuration": ("--prior prior-damaged", "prior-damaged"),
    "prior with truncated weights": ("--prior prior-short", "prior-short"),
    "prior of a record without end": ("--prior prior-deep", "--prior prior-deep", "JSON"),
    "prior of an unknown kind": ("--prior prior-record", "--prior prior-record", "unheard-of"),
    "prior that is no prior file": ("--prior notes.txt", "notes.txt"),
    "unknown backend": ("--backend fast", "--backend is 'fast'", "reference"),
    "prior without a name": ("--prior @empty", "--prior is empty", "emoji64"),
    "noise beyond all images": ("--noise-std 1e40", "--noise-std is 1e+40", "at most 1e+06"),
    "prior with a word for a number": ("--prior prior-text", "sigma_data must be a number", "'x'"),
    "unknown device": ("--device tpu", "'tpu'", "cpu"),
    "device that holds no data": ("--device meta", "'meta'", "cpu"),
    "device that is not there": ("--device cuda:99", "cuda:99"),
    "unknown precision": ("--dtype int8", "'int8'", "float32"),
    "negative noise": ("--noise-std -0.1", "--noise-std is -0.1", "at least 0"),
    "NaN noise": ("--noise-std nan", "--noise-std is nan"),
    "infinite noise": ("--noise-std inf", "--noise-std is inf"),
    "no steps": ("--steps 0", "--steps is 0", "at least 1"),
    "negative inner steps": ("--inner-steps -1", "--inner-steps is -1", "at least 0"),
    "no samples": ("--samples 0", "--samples is 0", "at least 1"),
    "negative batch size": ("--batch-size -4", "--batch-size is -4", "at least 1"),
    "negative seed": ("--seed -1", "--seed is -1"),
    "large seed": (f"--seed {2**63}", "--seed is 9223372036854775808", "2^63-1"),
    "negative task seed": ("--task-seed -1", "--task-seed is -1"),
    "inpainting without a mask": ("--task inpaint", "--mask is missing"),
    "a mask without inpainting": ("--task half --mask mask.png", "mask.png", "half"),
    "mask of another size": ("--task inpaint --mask mask-large.png", "20×20", "16×16"),
    "mask of another size, resized": (
        "--task inpaint --mask mask-large.png --resize", "20×20", "16×16",
    ),
    "mask of another size than an array": (
        "clean.npy --task inpaint --mask mask-large.png", "20×20", "16×16",
    ),
    "mask that hides all": ("--task inpaint --mask mask-all.png", "every pixel"),
    "mask that hides nothing": ("--task inpaint --mask mask-none.png", "no pixel"),
    "inverted mask that hides all": (
        "--task inpaint --mask mask-none.png --mask-keep white", "every pixel",
    ),
    "missing mask": ("--task inpaint --mask no.png", "no.png"),
    "mask that is a folder": ("--task inpaint --mask empty-folder", "empty-folder"),
    "unreadable mask": ("--task inpaint --mask text.png", "text.png"),
    "output that is a file": ("--output a-file", "a-file is a file"),
    "output below a file": ("--output a-file/out", "a-file/out", "not writable"),
    "output that cannot be made": ("--output /proc/vml-fast-out", "/proc/vml-fast-out"),
    "output among its inputs": ("mixed --output mixed", "input folder"),
    "overwrite and resume": ("--overwrite --resume", "--overwrite and --resume"),
}  # fmt: skip


@pytest.mark.parametrize("case", RESTORE)
def test_restore(case, files, prior, monkeypatch):
    monkeypatch.chdir(files)
    text, *words = RESTORE[case]
    given = ["" if word == "@empty" else word for word in text.split()]
    inputs = [word for word in given[: _first_option(given)] if word != "@given"]
    simulate = [] if "@given" in given else ["--simulate"]
    options = [word for word in given[_first_option(given) :] if word != "@given"]
    before = _snapshot(files)
    result = run("restore", *(inputs or ["good.png"]), "--task", "sr4", *simulate, "--prior", prior,
                 "--output", "out", *FAST, *options)  # fmt: skip
    _check_one_sentence(result, *words)
    assert _snapshot(files) == before


def _first_option(words):
    return next((k for k, word in enumerate(words) if word.startswith("--")), len(words))


DEGRADE = {
    "negative noise": ("--noise-std -1", "--noise-std is -1"),
    "NaN noise": ("--noise-std nan", "--noise-std is nan"),
    "noise beyond all images": ("--noise-std 1e40", "--noise-std is 1e+40", "at most 1e+06"),
    "no size": ("--size 0", "--size is 0"),
    "size beyond memory": ("--size 100000", "--size is 100000", "7071"),
    "output that no folder can be": ("--output " + "n" * 300, "output nnn", "too long"),
    "measurements that are a file": ("--output half-made", "half-made/measurements is a file"),
    "size that the task does not divide": ("--size 10", "10", "4"),
    "unknown task": ("--task sr", "'sr'"),
    "inpainting without a mask": ("--task inpaint", "--mask is missing"),
    "mask of another size": ("--task inpaint --mask mask-large.png", "20×20", "16×16"),
    "flat array": ("clean-flat.npy", "(16, 16)", "(C, H, W)"),
    "array in 0…255": ("clean-levels.npy", "255", "[-1, 1]"),
    "output that is a file": ("--output a-file", "a-file is a file"),
    "a later file is bad": ("mixed", "b.png"),
}


@pytest.mark.parametrize("case", DEGRADE)
def test_degrade(case, files, monkeypatch):
    monkeypatch.chdir(files)
    text, *words = DEGRADE[case]
    given = ["" if word == "@empty" else word for word in text.split()]
    inputs, options = given[: _first_option(given)], given[_first_option(given) :]
    before = _snapshot(files)
    result = run("degrade", *(inputs or ["good.png"]), "--task", "sr4", "--output", "out", *options)
    _check_one_sentence(result, *words)
    assert _snapshot(files) == before


USAGE = {
    "no input": "restore --task sr4 --output out",
    "no task": "restore good.png --output out",
    "no output": "restore good.png --task sr4",
    "steps that are no number": "restore good.png --task sr4 --output out --steps many",
    "unknown mask color": "restore good.png --task sr4 --output out --mask-keep gray",
    "unknown option": "restore good.png --task sr4 --output out --fast",
    "unknown command": "improve good.png",
    "output without a name": "restore good.png --task sr4 --output @empty",
    "mask without a name": "restore good.png --task inpaint --output out --mask @empty",
    "input without a name": "restore @empty --task sr4 --output out",
    "measurements without a folder": "degrade good.png --task sr4 --output @empty",
    "profile without a folder": "profile --output @empty",
    "benchmark without a folder": "bench --output @empty",
    "comparison without a folder": "evaluate --tasks half --output @empty",
    "study without a folder": "evaluate toy --output @empty",
    "Inception weights without a name": "evaluate --tasks half --inception-weights @empty",
    "prior without a folder": "train-prior --data mixed --output @empty",
}


@pytest.mark.parametrize("case", USAGE)
def test_usage(case, files, monkeypatch):
    monkeypatch.chdir(files)
    before = _snapshot(files)
    result = run(*("" if word == "@empty" else word for word in USAGE[case].split()))
    assert result.exit_code == 2
    assert ("path is empty" in result.stderr) == ("@empty" in USAGE[case])
    assert "Error" in result.stderr
    assert "Traceback" not in result.stderr
    assert _snapshot(files) == before


@pytest.fixture
def finished(files, prior, monkeypatch):
    """A folder `out` with the results of one run."""
    monkeypatch.chdir(files)
    result = run("restore", "good.png", "--task", "sr4", "--simulate", "--prior", prior,
                 "--output", "out", *FAST)  # fmt: skip
    assert result.exit_code == 0, result.output
    (files / "blocked" / "good-restored.png").mkdir(parents=True)
    return files


EXISTING = {
    "results of a run": ("", "already holds the results"),
    "resuming with another seed": ("--resume --seed 1", "seed 0", "now it is 1"),
    "resuming with another task": ("--resume --task sr2", '"sr4"', '"sr2"'),
    "overwriting from a bad input": ("--overwrite --noise-std -1", "--noise-std is -1"),
    "overwriting with a bad prior": ("--overwrite --prior prior-short", "prior-short"),
    "overwriting a folder": ("--overwrite --output blocked", "a folder good-restored.png"),
}


@pytest.mark.parametrize("case", EXISTING)
def test_existing_results_stay(case, finished, prior):
    options, *words = EXISTING[case]
    before = _snapshot(finished)
    result = run("restore", "good.png", "--task", "sr4", "--simulate", "--prior", prior,
                 "--output", "out", *FAST, *options.split())  # fmt: skip
    _check_one_sentence(result, *words)
    assert _snapshot(finished) == before


def test_resuming_with_another_content_of_the_same_name(finished, prior):
    save(finished / "good.png", picture(5))
    result = run("restore", "good.png", "--task", "sr4", "--simulate", "--prior", prior,
                 "--output", "out", *FAST, "--resume")  # fmt: skip
    _check_one_sentence(result, "inputs")


@pytest.mark.parametrize("record", ["", "[]", '{"results": 3}', '{"results": [{"files": [3]}]}'])
def test_a_record_that_is_none(finished, prior, record):
    (finished / "out" / "restore.json").write_text(record)
    before = _snapshot(finished)
    for option in ((), ("--overwrite",), ("--resume",)):
        result = run("restore", "good.png", "--task", "sr4", "--simulate", "--prior", prior,
                     "--output", "out", *FAST, *option)  # fmt: skip
        _check_one_sentence(result, "restore.json")
    assert _snapshot(finished) == before


@pytest.mark.parametrize("key", ["input", "sample", "sample_index", "psnr", "seconds"])
def test_a_record_whose_entries_lack_a_key(finished, prior, key):
    path = finished / "out" / "restore.json"
    record = json.loads(path.read_text())
    del record["results"][0][key]
    path.write_text(json.dumps(record))
    before = _snapshot(finished)
    result = run("restore", "good.png", "--task", "sr4", "--simulate", "--prior", prior,
                 "--output", "out", *FAST, "--resume")  # fmt: skip
    _check_one_sentence(result, "restore.json")
    assert _snapshot(finished) == before


def test_an_error_of_the_file_system_is_one_sentence(files, prior, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "out/x.png")

    monkeypatch.chdir(files)
    monkeypatch.setattr("vml_fast.cli.restore_run.RestoreRun.run", full)
    result = run("restore", "good.png", "--task", "sr4", "--simulate", "--prior", prior,
                 "--output", "out", *FAST)  # fmt: skip
    _check_one_sentence(result, "out/x.png: No space left on device")


def test_a_file_of_the_same_name_is_not_replaced(files, prior, monkeypatch):
    monkeypatch.chdir(files)
    (files / "out").mkdir()
    (files / "out" / "good-restored.png").write_text("mine")
    before = _snapshot(files)
    result = run("restore", "good.png", "--task", "sr4", "--simulate", "--prior", prior,
                 "--output", "out", *FAST)  # fmt: skip
    _check_one_sentence(result, "good-restored.png", "--overwrite")
    assert _snapshot(files) == before


def test_a_backend_of_the_environment_that_is_unknown(files, prior, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.setenv("VML_FAST_BACKEND", "fast")
    result = run("restore", "good.png", "--task", "sr4", "--simulate", "--prior", prior,
                 "--output", "out", *FAST)  # fmt: skip
    _check_one_sentence(result, "VML_FAST_BACKEND", "'fast'")
    assert not (files / "out").exists()


def test_a_backend_that_cannot_run_on_the_device(files, prior, monkeypatch):
    monkeypatch.chdir(files)
    result = run("restore", "good.png", "--task", "sr4", "--simulate", "--prior", prior,
                 "--output", "out", *FAST, "--device", "cpu", "--backend", "cuda")  # fmt: skip
    _check_one_sentence(result, "--backend cuda", "CUDA")
    assert not (files / "out").exists()


def test_a_missing_extra_is_named(files, prior, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.setitem(__import__("sys").modules, "torchmetrics", None)
    result = run("restore", "good.png", "--task", "sr4", "--simulate", "--prior", prior,
                 "--output", "out", *FAST)  # fmt: skip
    _check_one_sentence(result, "torchmetrics", "vml-fast[evaluation]")
    assert not (files / "out").exists()
