"""docs/speed.md states the numbers and names that the code has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import vml_fast as vf
from vml_fast.runtime import choose, compiled, runners
from vml_fast.runtime.jacobian import JACOBIANS

FOLDER = Path(__file__).parents[1] / "docs"
TEXT = (FOLDER / "speed.md").read_text(encoding="utf-8")
WORDS = " ".join(TEXT.split())


def test_auto_decides_as_it_says() -> None:
    gain = choose.GAIN["cpu"]
    assert f"from {choose.GRAPH_FROM} inner steps on" in WORDS
    assert f"On a CPU the gain is {100 * (gain - 1):.0f} %" in WORDS
    assert "cuda" not in choose.GAIN
    assert "over twice what compiling costs" in WORDS
    assert "else two minutes" in WORDS
    assert (choose.MARGIN, choose.COMPILE_SECONDS) == (2.0, 120.0)
    solving = choose.MARGIN * choose.COMPILE_SECONDS / (1 - 1 / gain)
    assert solving / 3600 == pytest.approx(1.0, abs=0.2)  # "an hour of solving"


def test_what_is_kept_is_bounded_as_it_says() -> None:
    assert f"at most {runners.CAPACITY} in a process" in WORDS
    assert f"compiled networks at most {compiled.CAPACITY}" in WORDS


def test_options_and_files_exist() -> None:
    for solver in (vf.VMLMAP, vf.MAPGA):
        assert {"compile", "cuda_graph"} <= set(inspect.signature(solver.__init__).parameters)
    for solver in (vf.DPS, vf.PiGDM):
        names = set(inspect.signature(solver.__init__).parameters)
        assert "compile" in names
        assert "cuda_graph" not in names
    accelerate = set(inspect.signature(vf.accelerate).parameters)
    assert {"dtype", "channels_last", "checkpointing"} <= accelerate
    assert all(f'"{name}"' in TEXT for name in JACOBIANS)
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (FOLDER / link).exists(), link
