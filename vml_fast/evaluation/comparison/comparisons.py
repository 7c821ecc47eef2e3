"""Comparisons by name: the repository's own tables, and the published settings that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vml_fast.errors import InputError
from vml_fast.evaluation.comparison import budgets
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.comparison.dataset import HELDOUT
from vml_fast.evaluation.comparison.grids import grid, interpolations, pseudo_inverses
from vml_fast.operators import PRESETS as TASK_PRESETS
from vml_fast.solvers import METHODS

LARGE_BUDGET_TASKS = ("half", "sr4", "deblur-gauss")
EMOJI_TASKS = (
    *LARGE_BUDGET_TASKS, "random70", "box", "expand", "subsample2", "alternate-rows",
    "deblur-uniform", "deblur-motion",
)  # fmt: skip
"""All tasks of `emoji64`; those of the large budgets come first."""
INNER_STEPS_TASKS = ("sr4", "half", "random70")
MAIN_TASKS = (*INNER_STEPS_TASKS, "deblur-gauss")
LAST_TASKS = ("deblur-motion",)
VML_TASKS = (*MAIN_TASKS, *LAST_TASKS)
"""All tasks of `vml-map-emoji64`, in the order to run them; the inner steps vary on the first."""
NOISE_STD = 0.05


@dataclass(frozen=True)
class Request:
    """What a comparison is made for.

    Attributes:
        images: how many the data set has, or was limited to; None leaves it to the comparison.
        consistency: whether a consistency model is at hand.
    """

    images: int | None
    consistency: bool


@dataclass(frozen=True)
class Comparison:
    """A comparison by name.

    Attributes:
        title: of its report.
        cells: its cells, what is asked for most first.
        prior: embedded prior that it is meant for; None where no such network comes along.
        data: embedded data set, likewise.
        needs: what to pass where there is no prior.
        images: how many images by default.
    """

    title: str
    cells: Callable[[Request], list[Cell]]
    prior: str | None
    data: str | None
    needs: str
    images: int


def _emoji64(request: Request) -> list[Cell]:
    """16 images at budgets 20 and 100, 8 at 200 and 1,000; all of them where asked for."""
    many = request.images or 16
    few = request.images or 8
    with_c = request.consistency
    cells = list(interpolations(EMOJI_TASKS, (0.0, NOISE_STD), many))
    for noise_std in (0.0, NOISE_STD):
        for budget in (20, 100):
            cells += grid(None, EMOJI_TASKS, (noise_std,), budget, many, consistency=with_c)
    if few != many:
        cells += interpolations(LARGE_BUDGET_TASKS, (0.0,), few)
    for budget in (200, 1000):
        cells += grid(None, LARGE_BUDGET_TASKS, (0.0,), budget, few, consistency=with_c)
    return cells


_LEVELS = 20


def _nk_cell(
    task: str,
    method: str,
    noise_std: float,
    images: int,
    *,
    inner_steps: int = 10,
    assumed_noise_std: float | None = None,
) -> Cell:
    """A form of VML-MAP with N = 20; the tau forms take fewer passes than the budget."""
    settings = {"steps": _LEVELS, "inner_steps": inner_steps}
    budget = _LEVELS * (2 * inner_steps + 1)
    return Cell(task, method, noise_std, budget, images, settings, assumed_noise_std)


def _forms(tasks: Sequence[str], images: int) -> Iterator[Cell]:
    """The forms of VML-MAP at 20×10, and what the noise model is worth."""
    for task in tasks:
        for method in ("vml-map", "vml-map-pre"):
            yield _nk_cell(task, method, 0.0, images)
        for method in METHODS:
            yield _nk_cell(task, method, NOISE_STD, images)
    for task in tasks:
        yield _nk_cell(task, "vml-map-pre", NOISE_STD, images, assumed_noise_std=0.0)


def _vml_map_emoji64(request: Request) -> list[Cell]:
    """The forms of VML-MAP at 20×10 on 16 images, and `vml-map-pre` at 20×5 and 20×50."""
    images = request.images or 16
    inner_steps = [
        _nk_cell(task, "vml-map-pre", 0.0, images, inner_steps=count)
        for count in (5, 50)
        for task in INNER_STEPS_TASKS
    ]
    return [
        *interpolations(VML_TASKS, (0.0, NOISE_STD), images),
        *_forms(MAIN_TASKS, images),
        *inner_steps,
        *_forms(LAST_TASKS, images),
    ]


def _published(
    tasks: Sequence[str], noise_std: float, solvers: dict[str, tuple[int, dict[str, Any]]]
) -> Callable[[Request], list[Cell]]:
    """Tasks at one noise level by solvers, each with its passes and its settings."""

    def cells(request: Request) -> list[Cell]:
        images = request.images or 50
        found = []
        for method, (budget, settings) in solvers.items():
            if method in budgets.CONSISTENCY_METHODS and not request.consistency:
                continue
            for task in tasks:
                found.append(Cell(task, method, noise_std, budget, images, settings))
        return [*pseudo_inverses(tasks, noise_std, images), *found]

    return cells


def _tasks_of(paper: str) -> tuple[str, ...]:
    return tuple(name for name in TASK_PRESETS if name.startswith(f"{paper}/"))


_N20K50 = {"steps": 20, "inner_steps": 50}
_MAP_GA_SOLVERS: dict[str, tuple[int, dict[str, Any]]] = {
    # Table 1 of MAP-GA: 1,000 iterations, here as 20 levels of 50
    "map-ga": (3020, _N20K50),
    "map-ga-np": (2020, _N20K50),
    "map-ga-d": (3020, _N20K50),
    "map-ga-d-np": (2020, _N20K50),
    "pigdm": (200, {"steps": 100}),
    "ddrm": (20, {"steps": 20}),
}

COMPARISONS: dict[str, Comparison] = {
    "emoji64": Comparison(
        "All methods on held-out emoji, at equal budgets of network passes",
        _emoji64, "emoji64", HELDOUT, "", 16,
    ),
    "vml-map-emoji64": Comparison(
        "The forms of VML-MAP on held-out emoji",
        _vml_map_emoji64, "emoji64", HELDOUT, "", 16,
    ),
    "vml-map": Comparison(
        "VML-MAP as published: N = 20, K = 50 (arXiv 2512.10524)",
        _published(
            ("map-ga/half", "map-ga/box50", "map-ga/sr4"), 0.0,
            dict.fromkeys(("vml-map", "vml-map-pre"), (2020, _N20K50)),
        ),
        None, None, "a network for ImageNet or FFHQ at 256×256 pixels", 50,
    ),
    "map-ga": Comparison(
        "MAP-GA as published: 1,000 iterations, noiseless (arXiv 2407.20784, Table 1)",
        _published(_tasks_of("map-ga"), 0.0, _MAP_GA_SOLVERS),
        None, None, "a network for ImageNet at 64×64 pixels (and --consistency for its main form)",
        50,
    ),
    "ddrm": Comparison(
        "DDRM as published: 20 steps, η = .85, η_b = 1, noise .05 of [0, 1] (arXiv 2201.11793)",
        _published(_tasks_of("ddrm"), 0.1, {"ddrm": (20, {"steps": 20})}),
        None, None, "a network for ImageNet at 256×256 pixels", 50,
    ),
    "daps": Comparison(
        "DAPS as published: 200 levels of 5 ODE steps and 100 Langevin steps (arXiv 2407.01521)",
        _published(
            _tasks_of("daps"), 0.05,
            {"daps": (1000, {"steps": 200, "ode_steps": 5, "langevin_steps": 100})},
        ),
        None, None, "a network for FFHQ or ImageNet at 256×256 pixels", 50,
    ),
    "dps": Comparison(
        "DPS as published: 1,000 steps (arXiv 2209.14687)",
        _published(_tasks_of("dps"), 0.05, {"dps": (2000, {"steps": 1000, "zeta": 1.0})}),
        None, None, "a network for FFHQ or ImageNet at 256×256 pixels", 50,
    ),
}  # fmt: skip
"""Name to comparison: the values of `vml-fast evaluate --preset`."""


def comparison(name: str) -> Comparison:
    """A comparison by name.

    Raises:
        InputError: there is no such name.
    """
    if name not in COMPARISONS:
        raise InputError(f"preset is {name!r}; it must be one of {', '.join(COMPARISONS)}")
    return COMPARISONS[name]
