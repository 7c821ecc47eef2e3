"""Drift of denoisers whose difference is known, and of the embedded prior as it is documented."""

import json
import math
from pathlib import Path

import pytest
import torch

from benchmarks import drift as command
from vml_fast.denoisers import EDMDenoiser
from vml_fast.evaluation.drift import Drift, drift

RECORD = Path(__file__).parents[2] / "docs" / "results" / "drift-emoji64"


class Scaled(torch.nn.Module):
    """F(u) = factor u, whose Jacobian is factor times the identity."""

    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, u, t):
        return self.factor * u


def edm(factor):
    return EDMDenoiser(Scaled(factor), (3, 8, 8))


def test_the_same_denoiser_does_not_drift():
    (found,) = drift(edm(0.3), edm(0.3), torch.zeros(2, 3, 8, 8), [1.0])
    assert found[1:] == (0.0, 0.0, 0.0)


def test_a_known_difference_in_closed_form():
    """x0 = 0, so x = sigma n: D = (c_skip + c_out c_in f) sigma n, J the same factor."""
    images = torch.zeros(64, 3, 8, 8)
    found = drift(edm(0.3), edm(0.31), images, [0.5, 20.0])
    for row in found:
        sigma2 = row.sigma**2
        c_skip, c_in = 0.25 / (sigma2 + 0.25), 1 / math.sqrt(sigma2 + 0.25)
        c_out = row.sigma * 0.5 * c_in
        slope = c_skip + c_out * c_in * 0.3
        change = c_out * c_in * 0.01
        assert row.output == pytest.approx(change * row.sigma / c_out, rel=0.03)
        assert row.share == pytest.approx(change / slope, rel=1e-3)
        assert row.product == pytest.approx(change / slope, rel=1e-3)


def test_the_page_holds_the_record(tmp_path):
    record = {
        "machine_info": {"device": "Some Processor", "torch": "2.13.0", "kind": "cpu"},
        "images": ["a", "b"],
        "levels": [1.0],
        "drift": {"bfloat16": [Drift(1.0, 0.012, 0.0345, 0.05)._asdict()]},
    }
    text = command.page(record)
    assert "## bfloat16" in text
    assert "| 1 | 1.2e-02 | 3.5e-02 | 5.0e-02 |" in text
    assert "Some Processor" in text
    assert "2 held-out emoji" in text


@pytest.mark.skipif(not RECORD.exists(), reason="not measured yet")
def test_the_committed_table_is_of_the_committed_record_and_within_the_stated_bounds():
    record = json.loads((RECORD / "drift.json").read_text())
    assert (RECORD / "README.md").read_text() == command.page(record)
    levels = command.noise_levels(len(record["levels"]))
    for dtype, rows in record["drift"].items():
        found = [Drift(**row) for row in rows]
        assert [row.sigma for row in found] == pytest.approx(levels)
        for row in found:  # the bounds in the documentation of `accelerate`
            bound = 1e-5 if dtype == "float32" else 0.07 if row.sigma <= 0.05 else 0.025
            assert row.output < bound, (dtype, row)
            assert row.share < 0.1, (dtype, row)
