"""Grids of cells: methods × tasks × noise levels at a budget, and a choice among cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vml_fast.errors import InputError
from vml_fast.evaluation.comparison import budgets
from vml_fast.evaluation.comparison.cells import INTERPOLATIONS, Cell
from vml_fast.solvers import BASELINES, METHODS


def grid(
    methods: Sequence[str] | None,
    tasks: Sequence[str],
    noise_stds: Sequence[float],
    budget: int,
    images: int,
    *,
    consistency: bool = False,
) -> Iterator[Cell]:
    """Methods × tasks × noise levels at a budget, each with its settings of `budgets`.

    Args:
        methods: names; None takes all that have settings at the noise level.
        tasks: names.
        noise_stds: sigma_y.
        budget: one of `budgets.BUDGETS`.
        images: how many.
        consistency: whether the methods that need a consistency model are among "all".
    """
    for noise_std in noise_stds:
        everything = budgets.methods(noise_std, consistency=consistency)
        for method in everything if methods is None else methods:
            if method not in everything and method in (*METHODS, *BASELINES):
                if methods is not None and method in budgets.methods(noise_std, consistency=True):
                    raise InputError(f"method {method} needs a consistency model, and none is here")
                if methods is not None and len(noise_stds) == 1:
                    budgets.settings(method, budget, noise_std)  # says which there are
                continue
            for task in tasks:
                settings = budgets.settings(method, budget, noise_std)
                yield Cell(task, method, noise_std, budget, images, settings)


def interpolations(
    tasks: Sequence[str], noise_stds: Sequence[float], images: int
) -> Iterator[Cell]:
    """The results that need no network."""
    for noise_std in noise_stds:
        for task in tasks:
            for name in INTERPOLATIONS:
                yield Cell(task, name, noise_std, 0, images)


def pseudo_inverses(tasks: Sequence[str], noise_std: float, images: int) -> list[Cell]:
    """The pseudo-inverse of each task; bicubic interpolation is not of every task."""
    return [Cell(task, "pseudo-inverse", noise_std, 0, images) for task in tasks]


def select(
    cells: Sequence[Cell],
    *,
    methods: Sequence[str] = (),
    tasks: Sequence[str] = (),
    noise_stds: Sequence[float] = (),
    chosen_budgets: Sequence[int] = (),
) -> list[Cell]:
    """The cells of a comparison with the given values; an empty list leaves all.

    Interpolations stay with their tasks and noise levels, whatever the methods and budgets.

    Raises:
        InputError: a value that no cell has.
    """
    _check("methods", methods, [n for c in cells for n in (c.method, c.label)])
    _check("tasks", tasks, [c.task for c in cells])
    _check("noise_stds", noise_stds, [c.noise_std for c in cells])
    _check("chosen_budgets", chosen_budgets, [c.budget for c in cells if c.budget])

    def kept(cell: Cell) -> bool:
        free = cell.method in INTERPOLATIONS
        return (
            (not tasks or cell.task in tasks)
            and (not noise_stds or cell.noise_std in noise_stds)
            and (free or not methods or cell.method in methods or cell.label in methods)
            and (free or not chosen_budgets or cell.budget in chosen_budgets)
        )

    return [cell for cell in cells if kept(cell)]


def _check(name: str, values: Sequence[Any], known: Sequence[Any]) -> None:
    for value in values:
        if value not in known:
            allowed = ", ".join(map(str, dict.fromkeys(known)))
            raise InputError(f"{name} holds {value!r}; this comparison has {allowed}")
