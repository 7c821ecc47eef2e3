"""The table of default settings covers the tasks of the command line, and fits the solver."""

from __future__ import annotations

import inspect

import pytest

from vml_fast.operators import TASKS
from vml_fast.solvers import METHODS, VMLMAP
from vml_fast.solvers.presets import GENERAL, PRESETS, preset


def test_every_task_has_a_preset() -> None:
    assert set(PRESETS) == set(TASKS)


@pytest.mark.parametrize("method", [name for name in METHODS if name.startswith("vml-map")])
def test_presets_are_keywords_of_the_solver(method: str) -> None:
    known = inspect.signature(VMLMAP).parameters
    for task in (*PRESETS, "a task of my own"):
        assert set(preset(task, method)) <= set(known)


def test_an_unknown_task_has_the_general_preset() -> None:
    assert preset("mine", "vml-map-pre") == GENERAL._asdict()
    assert "prior_weight" not in preset("mine", "vml-map")
