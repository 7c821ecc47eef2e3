"""`vml-fast degrade` writes y = H x + noise, exactly and as pictures."""

import json

import numpy as np
import pytest

from tests.cli.conftest import SIZE, picture, pixels, run, save


def _degrade(*arguments):
    result = run("degrade", *arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)


def _clean(seed):
    return picture(seed).astype(np.float64).transpose(2, 0, 1) / 127.5 - 1


def test_block_means_are_exact_and_rounded(photos, tmp_path):
    _degrade(photos, "--task", "sr4", "--output", tmp_path / "out")
    side = SIZE // 4
    for seed, name in enumerate(("ant", "bee", "cat")):
        expected = _clean(seed).reshape(3, side, 4, side, 4).mean(axis=(2, 4))
        y = np.load(tmp_path / "out" / "measurements" / f"{name}.npy")
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, expected, atol=1e-6)
        shown = pixels(tmp_path / "out" / "pictures" / f"{name}.png").transpose(2, 0, 1)
        np.testing.assert_allclose(shown, (expected + 1) * 127.5, atol=0.5 + 1e-3)
    record = json.loads((tmp_path / "out" / "degrade.json").read_text())
    assert record["complete"]
    assert record["results"][0]["measurement_shape"] == [3, side, side]


def test_noise_has_the_standard_deviation_and_the_seed_decides(photos, tmp_path):
    outputs = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        _degrade(photos, "--task", "denoise", "--noise-std", "0.2", "--seed", seed,
                 "--output", tmp_path / name)  # fmt: skip
        outputs[name] = np.stack(
            [np.load(path) for path in sorted((tmp_path / name / "measurements").iterdir())]
        )
    noise = outputs["a"] - np.stack([_clean(seed) for seed in range(3)])
    assert noise.std() == pytest.approx(0.2, rel=0.05)
    assert abs(noise.mean()) < 0.02
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.15
    assert np.array_equal(outputs["a"], outputs["b"])
    assert not np.allclose(outputs["a"], outputs["c"])


def test_hidden_pixels_stay_zero_under_noise(photos, tmp_path):
    _degrade(photos / "ant.png", "--task", "half", "--noise-std", "0.2", "--output", tmp_path / "o")
    y = np.load(tmp_path / "o" / "measurements" / "ant.npy")
    assert (y[..., SIZE // 2 :] == 0).all()
    assert (y[..., : SIZE // 2] != 0).all()


def test_the_task_seed_draws_the_mask_and_not_the_noise(photos, tmp_path):
    hidden = {}
    for name, options in {"a": (), "b": ("--seed", "5"), "c": ("--task-seed", "5")}.items():
        _degrade(photos / "ant.png", "--task", "random70", *options, "--output", tmp_path / name)
        hidden[name] = np.load(tmp_path / name / "measurements" / "ant.npy")[0] == 0
    assert np.array_equal(hidden["a"], hidden["b"])
    assert not np.array_equal(hidden["a"], hidden["c"])


def test_pictures_of_any_size_and_a_common_one(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    save(folder / "wide.png", picture(0, 12, 20))
    save(folder / "tall.png", picture(1, 24, 8))
    _degrade(folder, "--task", "sr2", "--output", tmp_path / "out")
    assert pixels(tmp_path / "out" / "pictures" / "wide.png").shape == (6, 10, 3)
    assert pixels(tmp_path / "out" / "pictures" / "tall.png").shape == (12, 4, 3)
    _degrade(folder, "--task", "sr2", "--size", "8", "--output", tmp_path / "eight")
    assert np.load(tmp_path / "eight" / "measurements" / "tall.npy").shape == (3, 4, 4)


def test_what_is_no_picture_is_shown_by_its_pseudo_inverse(photos, tmp_path):
    _degrade(photos / "ant.png", "--task", "walsh-hadamard", "--output", tmp_path / "out")
    assert np.load(tmp_path / "out" / "measurements" / "ant.npy").ndim == 1
    assert pixels(tmp_path / "out" / "pictures" / "ant.png").shape == (SIZE, SIZE, 3)


def test_results_are_not_mixed(photos, tmp_path):
    options = ("--task", "sr4", "--output", tmp_path / "out")
    _degrade(photos, *options)
    result = run("degrade", photos, *options)
    assert result.exit_code == 2
    assert "already holds the results" in result.stderr
    _degrade(photos / "bee.png", *options, "--overwrite")
    assert [p.name for p in (tmp_path / "out" / "measurements").iterdir()] == ["bee.npy"]
