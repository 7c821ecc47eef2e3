"""The table of default settings covers the tasks of the command line, and fits the solver."""

from __future__ import annotations

import inspect

from vml_fast.operators import TASKS
from vml_fast.solvers import VMLMAP
from vml_fast.solvers.task_defaults import DEFAULTS, GENERAL, defaults_of


def test_every_task_has_defaults() -> None:
    assert set(DEFAULTS) == set(TASKS)


def test_defaults_are_keywords_of_the_solver() -> None:
    known = inspect.signature(VMLMAP).parameters
    assert set(GENERAL._asdict()) <= set(known)
    assert all(row.steps >= 1 and row.inner_steps >= 1 for row in DEFAULTS.values())


def test_an_unknown_task_has_the_general_defaults() -> None:
    assert defaults_of("mine") == GENERAL
    assert defaults_of("denoise") != GENERAL
