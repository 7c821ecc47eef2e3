"""The table of default settings covers the tasks of the command line, and fits the solver."""

from __future__ import annotations

import inspect

from vml_fast.operators import TASKS
from vml_fast.solvers import VMLMAP
from vml_fast.solvers.presets import GENERAL, PRESETS, preset


def test_every_task_has_a_preset() -> None:
    assert set(PRESETS) == set(TASKS)


def test_presets_are_keywords_of_the_solver() -> None:
    known = inspect.signature(VMLMAP).parameters
    assert set(GENERAL._asdict()) <= set(known)
    assert all(row.steps >= 1 and row.inner_steps >= 1 for row in PRESETS.values())


def test_an_unknown_task_has_the_general_preset() -> None:
    assert preset("mine") == GENERAL
    assert preset("denoise") != GENERAL
