"""`vml-fast restore` against the library called directly, and its promises about files."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import vml_fast as vf
from tests.cli.conftest import FAST, SIZE, picture, pixels, run, save
from vml_fast.cli import restore_run
from vml_fast.cli.priors import weights_digest
from vml_fast.cli.summary import ROWS_SHOWN, print_summary
from vml_fast.errors import InputError
from vml_fast.evaluation import metrics
from vml_fast.evaluation.images import read_picture, to_uint8
from vml_fast.operators import TASKS, task
from vml_fast.ops.backends import availability

ROUNDING = 1 / (127.5 * 12**0.5)


def test_simulated_run_equals_the_library(restore, photos, prior):
    folder, record = restore(photos, "--task", "sr4", "--simulate", "--seed", "7")
    denoiser = vf.load_denoiser(str(prior))
    operator = task("sr4", (3, SIZE, SIZE))
    truth = torch.stack([read_picture(path).pixels for path in sorted(photos.iterdir())])
    result = vf.restore(operator.forward(truth), operator, denoiser, steps=2, inner_steps=1, seed=7)
    assert record["complete"]
    names = [entry["input"] for entry in record["results"]]
    assert names == ["ant.png", "bee.png", "cat.png"]
    for k, entry in enumerate(record["results"]):
        expected = to_uint8(result.image[k]).permute(1, 2, 0).numpy().astype(int)
        assert np.abs(pixels(folder / entry["files"][0]) - expected).max() <= 1
        clipped = result.image[k : k + 1].clamp(-1, 1)
        assert entry["psnr"] == pytest.approx(
            float(metrics.psnr(clipped, truth[k : k + 1])), abs=1e-3
        )
        assert entry["ssim"] == pytest.approx(
            float(metrics.ssim(clipped, truth[k : k + 1])), abs=1e-4
        )
        assert entry["residual"] == pytest.approx(float(result.residual[k]), rel=1e-3)
        assert (entry["denoiser_calls"], entry["vjp_calls"]) == (4, 2)
        assert entry["seconds"] > 0
        assert entry["noise_std"] == 0


def test_the_traces_are_the_solvers(restore, photos, prior):
    options = ("--task", "sr4", "--simulate", "--noise-std", "0.1")
    _, dropped = restore(photos, *options, output="dropped")
    _, record = restore(photos, *options, "--traces", "hutchinson", output="traces")
    assert record["settings"]["traces"] == "hutchinson"
    assert "traces" not in dropped["settings"]
    operator = task("sr4", (3, SIZE, SIZE))
    result = vf.restore(
        torch.zeros(1, *operator.measurement_shape), operator, vf.load_denoiser(str(prior)),
        noise_std=0.1, steps=2, inner_steps=1, traces="hutchinson",
    )  # fmt: skip
    first = record["results"][0]
    assert first["vjp_calls"] == result.vjp_calls > dropped["results"][0]["vjp_calls"]


@pytest.mark.parametrize("name", TASKS)
def test_every_task_and_its_picture(restore, photos, tmp_path, name):
    """Degrading and restoring agree on what a task is; the 8-bit picture is nearly as good."""
    mask = ("--mask", _mask(tmp_path / "mask.png")) if name == "inpaint" else ()
    options = ("--task", name, *mask, "--noise-std", "0.05", "--task-seed", "3")
    assert run("degrade", photos, *options, "--output", tmp_path / "y").exit_code == 0
    exact, record = restore(tmp_path / "y" / "measurements", *options, output="exact")
    assert all(0 < entry["residual"] < 2 for entry in record["results"])
    if name == "walsh-hadamard":
        return
    rounded, _ = restore(tmp_path / "y" / "pictures", *options, output="rounded")
    difference = pixels(exact / "bee-restored.png") - pixels(rounded / "bee-restored.png")
    assert np.abs(difference).mean() < 12  # pictures clip the noise and hold 8 bits


@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_backends_agree(restore, photos, backend):
    if availability("cpu")[backend] is not None:
        pytest.skip(availability("cpu")[backend])
    options = (photos, "--task", "box", "--simulate")
    auto, _ = restore(*options, output="auto")
    explicit, record = restore(*options, "--backend", backend, output="explicit")
    assert record["execution"]["backend"] == backend
    for name in ("ant", "bee", "cat"):
        file = f"{name}-restored.png"
        assert np.abs(pixels(auto / file) - pixels(explicit / file)).max() <= 1


def test_the_backend_is_that_of_the_network_too(restore, photos, monkeypatch):
    backends = []
    solve = restore_run.solve

    def kept(y, operator, denoiser, **options):
        backends.append((denoiser.acceleration.backend, options["backend"]))
        return solve(y, operator, denoiser, **options)

    monkeypatch.setattr(restore_run, "solve", kept)
    options = ("--task", "half", "--simulate", "--dtype", "auto", "--backend", "reference")
    restore(photos / "ant.png", *options)
    assert backends == [("reference", "reference")]


def test_large_noise_is_no_wrong_range(restore, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(0, 20, (3, 16, 16)))
    _, record = restore(tmp_path / "x.npy", "--task", "denoise", "--noise-std", "20")
    assert record["results"][0]["noise_std"] == 20


def test_the_batch_size_changes_nothing(restore, photos):
    options = (photos, "--task", "random70", "--simulate", "--samples", "2", "--noise-std", ".1")
    one, alone = restore(*options, "--batch-size", "1", output="one")
    four, together = restore(*options, "--batch-size", "4", output="four")
    names = sorted(path.name for path in one.glob("*.png"))
    assert names == sorted(path.name for path in four.glob("*.png"))
    assert names[:2] == ["ant-restored-0.png", "ant-restored-1.png"]
    for name in names:
        assert np.abs(pixels(one / name) - pixels(four / name)).max() <= 1
    for a, b in zip(alone["results"], together["results"], strict=True):
        assert (a["input"], a["sample"], a["sample_index"]) == (
            b["input"],
            b["sample"],
            b["sample_index"],
        )
        assert a["residual"] == pytest.approx(b["residual"], rel=1e-3)
    assert np.abs(pixels(one / names[0]) - pixels(one / names[1])).max() > 10, "samples differ"


def test_degrading_then_restoring_equals_simulating(restore, photos, tmp_path):
    options = ("--task", "deblur-gauss", "--noise-std", "0.05", "--seed", "3")
    assert run("degrade", photos, *options, "--output", tmp_path / "y").exit_code == 0
    a, exact = restore(tmp_path / "y" / "measurements", *options, output="a")
    b, simulated = restore(photos, *options, "--simulate", output="b")
    for name in ("ant-restored.png", "cat-restored.png"):
        assert np.array_equal(pixels(a / name), pixels(b / name))
    assert [e["residual"] for e in exact["results"]] == [
        e["residual"] for e in simulated["results"]
    ]
    assert [e["psnr"] for e in exact["results"]] == [None] * 3
    assert all(e["psnr"] is not None for e in simulated["results"])


def test_default_noise_is_the_rounding_of_the_file(restore, tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    small = picture(0, SIZE // 4, SIZE // 4)
    save(inputs / "a-png.png", small)
    save(inputs / "b-webp.webp", small, lossless=True)
    save(inputs / "c-16bit.png", small[..., 0].astype(np.uint16) * 257)
    np.save(inputs / "d-array.npy", np.zeros((3, SIZE // 4, SIZE // 4), np.float32))
    _, record = restore(inputs, "--task", "sr4")
    levels = [entry["noise_std"] for entry in record["results"]]
    assert levels == pytest.approx([ROUNDING, ROUNDING, ROUNDING / 257, 0.0])
    _, record = restore(inputs, "--task", "sr4", "--noise-std", "0.02", output="said")
    assert [entry["noise_std"] for entry in record["results"]] == [0.02] * 4


def _mask(path, hidden=slice(4, 10), color=255):
    array = np.full((SIZE, SIZE), 255 - color, np.uint8)
    array[hidden, 2:9] = color
    return save(path, array)


def test_inpainting_never_reads_what_is_hidden(restore, tmp_path):
    mask = _mask(tmp_path / "mask.png")
    array = picture(1)
    save(tmp_path / "x.png", array)
    array[4:10, 2:9] = 255 - array[4:10, 2:9]
    save(tmp_path / "other.png", array)
    options = ("--task", "inpaint", "--mask", mask, "--noise-std", "0")
    a, _ = restore(tmp_path / "x.png", *options, output="a")
    b, _ = restore(tmp_path / "other.png", *options, output="b")
    first = pixels(a / "x-restored.png")
    assert np.array_equal(first, pixels(b / "other-restored.png"))
    known = np.ones((SIZE, SIZE), bool)
    known[4:10, 2:9] = False
    difference = np.abs(first - picture(1))
    assert difference[known].max() <= 1
    assert difference[~known].max() > 10


def test_the_kept_color_of_a_mask_can_be_white(restore, photos, tmp_path):
    black = _mask(tmp_path / "black.png")
    white = _mask(tmp_path / "white.png", color=0)
    a, _ = restore(photos, "--task", "inpaint", "--simulate", "--mask", black, output="a")
    b, _ = restore(
        photos,
        "--task",
        "inpaint",
        "--simulate",
        "--mask",
        white,
        "--mask-keep",
        "white",
        output="b",
    )
    assert np.array_equal(pixels(a / "bee-restored.png"), pixels(b / "bee-restored.png"))


def test_resize_takes_the_center(restore, tmp_path):
    wide = np.zeros((2 * SIZE, 4 * SIZE, 3), np.uint8)
    wide[:, SIZE : 3 * SIZE] = 200
    save(tmp_path / "wide.png", wide)
    save(tmp_path / "flat.png", np.full((SIZE, SIZE, 3), 200, np.uint8))
    options = ("--task", "denoise", "--noise-std", "0.1")
    a, _ = restore(tmp_path / "wide.png", *options, "--resize", output="a")
    b, _ = restore(tmp_path / "flat.png", *options, output="b")
    assert np.abs(pixels(a / "wide-restored.png") - pixels(b / "flat-restored.png")).max() <= 1


def test_a_mask_is_resized_with_its_picture(restore, tmp_path):
    big = np.full((2 * SIZE, 2 * SIZE, 3), 50, np.uint8)
    big[8:20, 4:18] = 255
    hidden = np.zeros((2 * SIZE, 2 * SIZE), np.uint8)
    hidden[8:20, 4:18] = 255
    save(tmp_path / "x.png", big)
    mask = save(tmp_path / "mask.png", hidden)
    folder, record = restore(tmp_path / "x.png", "--task", "inpaint", "--mask", mask, "--resize")
    small = np.full((SIZE, SIZE, 3), 50, np.uint8)
    save(tmp_path / "small.png", small)
    mask = _mask(tmp_path / "small-mask.png")
    other, expected = restore(
        tmp_path / "small.png", "--task", "inpaint", "--mask", mask, output="small"
    )
    assert np.array_equal(pixels(folder / "x-restored.png"), pixels(other / "small-restored.png"))
    assert record["results"][0]["residual"] == expected["results"][0]["residual"]


def test_gray_pictures_are_colorized_and_gray_priors_write_gray(
    restore, gray_prior, photos, tmp_path
):
    save(tmp_path / "gray.png", picture(0)[..., 0])
    folder, _ = restore(tmp_path / "gray.png", "--task", "colorize", "--noise-std", "0")
    restored = pixels(folder / "gray-restored.png")
    assert restored.shape == (SIZE, SIZE, 3)
    inside = ((restored > 0) & (restored < 255)).all(axis=-1)  # clipping moves the mean
    difference = restored.mean(axis=-1) - picture(0)[..., 0]
    assert inside.any()
    assert np.abs(difference[inside]).max() <= 1
    result = run("restore", photos, "--task", "half", "--simulate", "--prior", gray_prior,
                 "--output", tmp_path / "gray", *FAST)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "gray" / "ant-restored.png").mode == "L"


def test_figures_are_drawn(prior, photos, tmp_path):
    result = run("restore", photos / "ant.png", "--task", "walsh-hadamard", "--simulate",
                 "--samples", "2", "--prior", prior, "--output", tmp_path / "out", "--steps", "3",
                 "--inner-steps", "1", "--batch-size", "1")  # fmt: skip
    assert result.exit_code == 0, result.output
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["ant-comparison.png", "ant-levels.png", "ant-restored-0.png",
                       "ant-restored-1.png", "restore.json"]  # fmt: skip
    for name in written[:2]:
        assert pixels(tmp_path / "out" / name).std() > 10
    assert "wrote 2 restorations" in result.stdout
    assert "PSNR" in result.stdout


def test_the_summary_shows_names_as_they_are(capsys, tmp_path):
    scores = {"psnr": 20.0, "ssim": None, "residual": 0.01, "seconds": 1.5}
    names = ["photo[final].png", "[/red].png", *(f"{k}.png" for k in range(ROWS_SHOWN))]
    entries = [{"input": name, "sample": 0, **scores} for name in names]
    entries[0]["psnr"] = 40.0
    print_summary(entries, tmp_path / "out[1]")
    printed = " ".join(capsys.readouterr().out.split())  # lines are folded to the terminal
    assert printed.startswith("input sample PSNR, dB residual seconds photo[final].png 0 40.00")
    assert "[/red].png 0 20.00" in printed
    assert f"… 2 more mean {20 + 20 / len(names):.2f} 1.00e-02 1.50" in printed
    assert printed.endswith("out[1]")


def _failing_on_call(monkeypatch, number, error):
    """The solver fails at its call `number`, counted from 1."""
    calls = []
    solve = restore_run.solve

    def counted(*arguments, **options):
        calls.append(None)
        if len(calls) == number:
            raise error
        return solve(*arguments, **options)

    monkeypatch.setattr(restore_run, "solve", counted)


def test_an_interrupted_run_resumes_and_equals_the_uninterrupted(restore, photos, monkeypatch):
    options = (photos, "--task", "box", "--simulate", "--samples", "2", "--noise-std", ".05",
               "--batch-size", "3")  # fmt: skip
    whole, expected = restore(*options, output="whole")
    with monkeypatch.context() as patch:
        _failing_on_call(patch, 2, KeyboardInterrupt())
        part, record = restore(*options, output="part", code=130)
    assert not record["complete"]
    assert len(record["results"]) == 3
    kept = {path.name: path.stat().st_mtime_ns for path in part.glob("ant-*.png")}
    assert len(kept) == 2
    part, record = restore(*options, "--resume", output="part")
    assert record["complete"]
    assert {path.name: path.stat().st_mtime_ns for path in part.glob("ant-*.png")} == kept
    for name in (path.name for path in whole.glob("*.png")):
        assert np.abs(pixels(whole / name) - pixels(part / name)).max() <= 1
    for a, b in zip(expected["results"], record["results"], strict=True):
        assert (a["input"], a["sample"]) == (b["input"], b["sample"])
        assert a["psnr"] == pytest.approx(b["psnr"], abs=1e-3)


def test_a_later_failure_keeps_what_is_finished(restore, photos, monkeypatch):
    _failing_on_call(monkeypatch, 3, InputError("the third fails"))
    folder, record = restore(photos, "--task", "half", "--simulate", "--batch-size", "1", code=2)
    assert [entry["input"] for entry in record["results"]] == ["ant.png", "bee.png"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "ant-restored.png", "bee-restored.png", "restore.json",
    ]  # fmt: skip


def test_resuming_a_finished_run_does_nothing(restore, photos, monkeypatch):
    options = (photos, "--task", "half", "--simulate")
    _, first = restore(*options)
    _failing_on_call(monkeypatch, 1, AssertionError("nothing is left to solve"))
    _, second = restore(*options, "--resume")
    assert second["results"] == first["results"]


def test_a_lost_picture_is_made_again(restore, photos):
    options = (photos, "--task", "half", "--simulate")
    folder, _ = restore(*options)
    (folder / "bee-restored.png").unlink()
    _, record = restore(*options, "--resume")
    assert (folder / "bee-restored.png").is_file()
    assert len(record["results"]) == 3


def _refused_resumption(prior, output, *arguments):
    """What `--resume` says of a run that it must not go on with."""
    result = run("restore", *arguments, "--resume", "--prior", prior, "--output", output, *FAST)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_setting_that_only_the_former_run_has_is_not_mixed(restore, photos, prior):
    options = (photos, "--task", "sr4", "--simulate", "--noise-std", "0.1")
    folder, _ = restore(*options, "--traces", "hutchinson")
    said = _refused_resumption(prior, folder, *options)
    assert 'was made with traces "hutchinson", now it is null' in said


def test_a_prior_that_was_trained_further_is_not_mixed(restore, photos, prior, tmp_path):
    mine = tmp_path / "my-prior"
    shutil.copytree(prior, mine)
    options = (photos, "--task", "half", "--simulate")
    folder, record = restore(*options, using=mine)
    assert record["settings"]["weights_sha256"] == weights_digest(str(prior))
    restore(*options, "--resume", using=mine)
    weights = mine / "diffusion_pytorch_model.safetensors"
    save_file({name: 2 * value for name, value in load_file(weights).items()}, weights)
    assert "was made with weights_sha256" in _refused_resumption(mine, folder, *options)


def test_overwriting_removes_the_former_results_only(restore, photos):
    folder, _ = restore(photos, "--task", "half", "--simulate")
    (folder / "my-notes.txt").write_text("mine")
    restore(photos / "bee.png", "--task", "half", "--simulate", "--overwrite")
    written = sorted(path.name for path in folder.iterdir())
    assert written == ["bee-restored.png", "my-notes.txt", "restore.json"]


def test_a_record_cannot_reach_outside_its_folder(restore, photos, tmp_path):
    folder, record = restore(photos / "bee.png", "--task", "half", "--simulate")
    treasure = tmp_path / "treasure.txt"
    treasure.write_text("mine")
    record["results"][0]["files"] += ["../treasure.txt", str(treasure)]
    (folder / "restore.json").write_text(json.dumps(record))
    restore(photos / "bee.png", "--task", "half", "--simulate", "--overwrite")
    assert treasure.read_text() == "mine"
