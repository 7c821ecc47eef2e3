"""What cheaper arithmetic costs: the table says what was measured, and a broken run resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import precision
from vml_fast.evaluation.metrics import psnr

RECORD = precision.FOLDER / "precision.json"


def fake_measure(name: str, variant: str, images: int, steps: int, inner_steps: int) -> list[float]:
    """30 dB, and a little more or less by variant."""
    shift = {"float32": 0.0, "bfloat16": -0.05, "jvp": 0.3, "finite_difference": 0.0}[variant]
    return [30.0 + shift] * images


def test_a_broken_run_resumes_and_equals_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []

    def breaking(name: str, variant: str, **settings: int) -> list[float]:
        calls.append((name, variant))
        if len(calls) == 20:
            raise KeyboardInterrupt
        return fake_measure(name, variant, **settings)

    monkeypatch.setattr(precision, "measure", breaking)
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    with pytest.raises(KeyboardInterrupt):
        precision.main(["--output", str(parts)])
    precision.main(["--output", str(parts)])
    count = len(precision.CHOSEN) * len(precision.VARIANTS)
    assert len(calls) == count + 1
    monkeypatch.setattr(precision, "measure", fake_measure)
    precision.main(["--output", str(whole)])
    for name in ("precision.json", "README.md"):
        assert (parts / name).read_text() == (whole / name).read_text()
    precision.main(["--output", str(parts), "--images", "2"])  # other settings: all anew
    record = json.loads((parts / "precision.json").read_text())
    assert len(record["tasks"]["sr2"]["jvp"]) == 2


def test_the_page_says_how_far_each_variant_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "measure", fake_measure)
    precision.main(["--task", "sr4", "--task", "denoise", "--output", str(tmp_path)])
    text = (tmp_path / "README.md").read_text()
    good = "dB over tasks; within 0.1 dB, or above 58.9 dB, in"
    assert f"* bfloat16: median -0.050 {good} 2 of 2" in text
    assert f"* jvp: median +0.300 {good} 0 of 2" in text
    assert "| denoise | 0.1 | 30.00 | -0.050 | +0.300 | +0.000 |" in text


def test_a_difference_that_8_bits_cannot_hold_does_not_count() -> None:
    truth = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    picture = ((truth + 1) * 127.5).round() / 127.5 - 1
    assert psnr(picture, truth).item() == pytest.approx(precision.EIGHT_BITS, abs=0.1)
    assert precision.is_as_good({"float32": [80.0], "jvp": [70.0]}, "jvp")
    assert not precision.is_as_good({"float32": [80.0], "jvp": [50.0]}, "jvp")
    assert not precision.is_as_good({"float32": [40.0], "jvp": [39.8]}, "jvp")


@pytest.mark.slow
def test_a_solve_in_bfloat16_is_as_good() -> None:
    """Measured and drawn by the same seeds: one task in short."""
    settings = {"images": 2, "steps": 6, "inner_steps": 2}
    exact, rough = (
        precision.measure("random70", variant, **settings) for variant in ("float32", "bfloat16")
    )
    apart = sum(rough) / 2 - sum(exact) / 2
    assert 0 < abs(apart) < precision.ALLOWED


@pytest.mark.skipif(not RECORD.exists(), reason="not measured yet")
def test_the_committed_table_is_of_the_committed_record_and_within_the_promise() -> None:
    record = json.loads(RECORD.read_text())
    assert (precision.FOLDER / "README.md").read_text() == precision.page(record)
    for name, found in record["tasks"].items():
        assert precision.is_as_good(found, "bfloat16"), name
