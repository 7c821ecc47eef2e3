"""deepinv's baselines beside ours: the page says what was measured, and what is said alike is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import deepinv_baselines as record_of
from benchmarks.deepinv_runs import PROBLEMS, RUNS, UNSOLVED, vp_times
from tests.peers.deepinv_import import deepinv_or_skip

RECORD = record_of.FOLDER / "deepinv.json"
SHIFTS = {"deepinv DDRM": -1.0, "deepinv DPS": -0.06}
AS_IT_IS, ALIGNED = record_of.PAIRS[:2]


def fake_measure(name: str, run: str, images: int, seeds: int, steps: int) -> list[list[float]]:
    """30 dB and more; seeds are .2 dB apart, and some runs of deepinv's lower."""
    shift = SHIFTS.get(run, 0.0)
    return [[30.0 + i + 0.2 * seed + shift for i in range(images)] for seed in range(seeds)]


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Nothing is measured; the runs that were asked for."""
    asked: list[tuple[str, str]] = []

    def measure(name: str, run: str, **settings: int) -> list[list[float]]:
        asked.append((name, run))
        if len(asked) == 9:
            raise KeyboardInterrupt
        return fake_measure(name, run, **settings)

    def attempt(name: str, steps: int) -> dict[str, Any]:
        return {"method": "DDRM", "deepinv": "IndexError: a|b", "psnr": [20.0, 21.0]}

    monkeypatch.setattr(record_of, "measure", measure)
    monkeypatch.setattr(record_of, "attempt", attempt)
    monkeypatch.setattr(record_of, "version", lambda: "0.5.0")
    return asked


def test_a_broken_run_resumes_and_the_page_says_what_differs(
    faked: list[tuple[str, str]], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        record_of.main(["--output", str(tmp_path)])
    record_of.main(["--output", str(tmp_path)])
    assert len(faked) == len(PROBLEMS) * len(RUNS) + 1
    record = json.loads((tmp_path / "deepinv.json").read_text())
    assert set(record["unsolved"]) == set(UNSOLVED)
    text = (tmp_path / "README.md").read_text()
    # Two seeds .2 apart have the variance .02; 8 images: 1.96 sqrt(2 * .02 / 16).
    line = "| random70 | DDRM | as it is | 32.60 | 33.60 | +1.000 [+1.000, +1.000] | ±0.10 | no |"
    assert line in text
    assert (
        "| blur | DPS | as it is | 33.54 | 33.60 | +0.060 [+0.060, +0.060] | ±0.10 | yes |" in text
    )
    assert "Aligned, ours are within noise of deepinv's in 6 of 6 comparisons; no image's" in text
    assert "by more than 0.0000 dB" in text
    assert "As they are, in 4 of 6 (not DDRM on random70, DDRM on blur)" in text
    assert r"| 4× super-resolution | DDRM | IndexError: a\|b | 20.50 |" in text


def test_other_settings_are_measured_anew(faked: list[tuple[str, str]], tmp_path: Path) -> None:
    faked.extend([("", "")] * 9)  # past the interruption
    record_of.main(["--output", str(tmp_path)])
    record_of.main(["--output", str(tmp_path), "--images", "3"])
    record = json.loads((tmp_path / "deepinv.json").read_text())
    assert len(record["tasks"]["blur"]["deepinv DPS"][0]) == 3
    assert len(record["tasks"]["blur"]["deepinv DPS, aligned"]) == 1


def test_noise_is_judged_by_seeds_and_by_the_interval() -> None:
    quiet = [[30.0, 31.0, 32.0], [30.0, 31.0, 32.0]]
    loud = [[29.0, 33.0, 30.0], [31.0, 29.0, 34.0]]
    below = [[v - 0.1 for v in values] for values in quiet]
    mixed = [[29.0, 32.5, 31.8], [29.2, 32.0, 32.0]]
    found = {"DDRM": quiet, "deepinv DDRM": below}
    assert not record_of.is_within_noise(found, AS_IT_IS)
    assert record_of.is_within_noise(found | {"deepinv DDRM": mixed}, AS_IT_IS)
    found = {"DDRM": loud, "deepinv DDRM": [[v - 0.1 for v in values] for values in loud]}
    assert record_of.is_within_noise(found, AS_IT_IS)
    one_seed = {"DDRM, truncated": loud, "deepinv DDRM, aligned": loud[:1]}
    assert record_of.apart(one_seed, ALIGNED).mean == 0
    ratio = record_of.between_seeds(one_seed, ALIGNED) / record_of.between_seeds(found, AS_IT_IS)
    assert ratio == pytest.approx(math.sqrt(2))


def test_images_are_taken_from_all_over_the_list() -> None:
    for count in (1, 7, 8):
        images = record_of.chosen_images(count)
        assert len(images) == count
        assert len({image.sum().item() for image in images}) == count


def test_times_are_those_of_our_levels() -> None:
    sde = deepinv_or_skip().sampling.VariancePreservingDiffusion()
    levels = record_of.noise_levels(7)
    found = torch.stack([sde.sigma_t(t) for t in vp_times(levels)])
    torch.testing.assert_close(found[:-1], levels)
    assert found[-1] == 0


@pytest.mark.parametrize("pair", [p for p in record_of.PAIRS if p.form == "aligned"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_aligned_with_ours_deepinv_restores_the_same_images(
    name: str, pair: record_of.Pair
) -> None:
    """With the embedded network; unaligned, PSNRs are tenths of a dB apart."""
    deepinv_or_skip()
    setting = record_of.setting_of(3)
    problem = PROBLEMS[name](record_of.chosen_images(2))
    here, there = (RUNS[run](problem, setting, 5) for run in (pair.ours, pair.theirs))
    torch.testing.assert_close(here, there, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", UNSOLVED)
def test_deepinv_has_no_answer_and_ours_has(name: str) -> None:
    deepinv_or_skip()
    found = record_of.attempt(name, steps=3)
    assert found["deepinv"] != "images"
    assert all(math.isfinite(value) for value in found["psnr"])


@pytest.mark.skipif(not RECORD.exists(), reason="not measured yet")
def test_the_committed_page_is_of_the_committed_record_and_ours_are_deepinvs_aligned() -> None:
    record = json.loads(RECORD.read_text())
    assert (record_of.FOLDER / "README.md").read_text() == record_of.page(record)
    for found in record["tasks"].values():
        for pair in (p for p in record_of.PAIRS if p.form == "aligned"):
            assert record_of.is_within_noise(found, pair)
    assert record_of.largest_gap(record["tasks"]) < 0.05
    for found in record["unsolved"].values():
        assert found["deepinv"] != "images"
        assert all(math.isfinite(value) for value in found["psnr"])
