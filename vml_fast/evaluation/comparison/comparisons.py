"""Comparisons by name: the repository's own tables, and the published settings that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
        images: how many every cell takes; None leaves it to the comparison.
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


class Published(NamedTuple):
    """What a paper ran: a method on some tasks at a noise level.

    Attributes:
        method: its name.
        tasks: names.
        noise_std: sigma_y, images in [-1, 1].
        budget: network passes per image.
        settings: keywords of the solver.
    """

    method: str
    tasks: Sequence[str]
    noise_std: float
    budget: int
    settings: dict[str, Any]


def _published(*parts: Published) -> Callable[[Request], list[Cell]]:
    """The cells of a paper, after the pseudo-inverses of its tasks."""

    def cells(request: Request) -> list[Cell]:
        images = request.images or 50
        chosen = [
            part
            for part in parts
            if request.consistency or part.method not in budgets.CONSISTENCY_METHODS
        ]
        found = [
            Cell(task, part.method, part.noise_std, part.budget, images, part.settings)
            for part in chosen
            for task in part.tasks
        ]
        seen = dict.fromkeys((task, part.noise_std) for part in chosen for task in part.tasks)
        inverses = [
            cell for task, level in seen for cell in pseudo_inverses((task,), level, images)
        ]
        return [*inverses, *found]

    return cells


def _tasks_of(paper: str, *names: str) -> tuple[str, ...]:
    """The published tasks of a paper, all of them or those named."""
    known = tuple(name for name in TASK_PRESETS if name.startswith(f"{paper}/"))
    return tuple(f"{paper}/{name}" for name in names) or known


_N20K50 = {"steps": 20, "inner_steps": 50}
MAP_GA_SPLITS = ((20, 50), (50, 20), (100, 10), (200, 5), (250, 4), (500, 2), (1000, 1))
"""(N, K): how MAP-GA splits its 1,000 iterations; each of its figures is of the best of them."""
SAMPLER_STEPS = (20, 50, 100, 200, 250, 500, 1000)
"""Steps that MAP-GA's authors gave DDRM and PiGDM, likewise."""
_MASKS = _tasks_of("map-ga", "half", "box50", "box25", "expand", "subsample2", "alternate_rows")


def _map_ga(
    tasks: Sequence[str], splits: Sequence[tuple[int, int]], sampler_steps: Sequence[int]
) -> Iterator[Published]:
    """Table 1 of MAP-GA: its four forms at 1,000 iterations, DDRM and PiGDM."""
    for n, k in splits:
        for method in ("map-ga", "map-ga-np", "map-ga-d", "map-ga-d-np"):
            passes = n * ((2 if method.endswith("-np") else 3) * k + 1)
            settings = {"steps": n, "inner_steps": k}
            yield Published(method, tasks, 0.0, passes, settings)
    for n in sampler_steps:
        yield Published("pigdm", tasks, 0.0, 2 * n, {"steps": n})
        yield Published("ddrm", tasks, 0.0, n, {"steps": n})


def _map_ga_noisy(noise_stds: Sequence[float]) -> Iterator[Published]:
    """Table 4 of MAP-GA: Algorithm 3 with 20 PiGDM steps, and PiGDM."""
    for noise_std in noise_stds:
        for method in ("map-ga-np", "map-ga-d-np"):
            settings = {**_N20K50, "pigdm_steps": 20}
            yield Published(method, _MASKS, noise_std, 2060, settings)
        yield Published("pigdm", _MASKS, noise_std, 200, {"steps": 100})


def _daps(tasks: Sequence[str], step_size: float) -> Published:
    """DAPS's 1,000 forwards; its authors' learning rate of the Langevin steps is per task."""
    settings = {"steps": 200, "ode_steps": 5, "langevin_steps": 100, "step_size": step_size}
    return Published("daps", tasks, NOISE_STD, 1000, settings)


def _dps(tasks: Sequence[str], zeta: float) -> Published:
    return Published("dps", tasks, NOISE_STD, 2000, {"steps": 1000, "zeta": zeta})


_IMAGENET64 = "a network for ImageNet at 64×64 pixels (and --consistency for its main form)"
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
        _published(*(
            Published(method, _tasks_of("map-ga", "half", "box50", "sr4"), 0.0, 2020, _N20K50)
            for method in ("vml-map", "vml-map-pre")
        )),
        None, None, "a network for ImageNet or FFHQ at 256×256 pixels", 50,
    ),
    "map-ga": Comparison(
        "MAP-GA as published, noiseless, at one split of its 1,000 iterations, 20 levels of 50 "
        "(arXiv 2407.20784, Table 1, but for its deblurring, whose kernel it does not give)",
        _published(*_map_ga(_tasks_of("map-ga"), MAP_GA_SPLITS[:1], (100,))),
        None, None, _IMAGENET64, 50,
    ),
    "map-ga-splits": Comparison(
        "MAP-GA as published, noiseless, at all its splits of 1,000 iterations "
        "(arXiv 2407.20784, Table 1 holds the best of each)",
        _published(*_map_ga(_tasks_of("map-ga"), MAP_GA_SPLITS, SAMPLER_STEPS)),
        None, None, _IMAGENET64, 50,
    ),
    "map-ga-noisy": Comparison(
        "MAP-GA as published, noise of .05 and .1 (arXiv 2407.20784, Table 4)",
        _published(*_map_ga_noisy((0.05, 0.1))),
        None, None, _IMAGENET64, 50,
    ),
    "ddrm": Comparison(
        "DDRM as published: 20 steps, η = .85, η_b = 1, without noise and with .05 of [0, 1] "
        "(arXiv 2201.11793)",
        _published(*(
            Published("ddrm", _tasks_of("ddrm"), noise_std, 20, {"steps": 20})
            for noise_std in (0.0, 0.1)
        )),
        None, None, "a network for ImageNet at 256×256 pixels", 50,
    ),
    "daps": Comparison(
        "DAPS as published: 200 levels of 5 ODE steps and 100 Langevin steps (arXiv 2407.01521)",
        _published(
            _daps(_tasks_of("daps", "down_sampling", "inpainting_rand", "gaussian_blur"), 1e-4),
            _daps(_tasks_of("daps", "inpainting", "motion_blur"), 5e-5),
        ),
        None, None, "a network for FFHQ or ImageNet at 256×256 pixels", 50,
    ),
    "dps": Comparison(
        "DPS as published for FFHQ: 1,000 steps, ζ = 1 (arXiv 2209.14687, D.1)",
        _published(_dps(_tasks_of("dps"), 1.0)),
        None, None, "a network for FFHQ at 256×256 pixels", 50,
    ),
    "dps-imagenet": Comparison(
        "DPS as published for ImageNet: 1,000 steps, ζ = 1, but .4 and .6 for the Gaussian and the "
        "motion blur (arXiv 2209.14687, D.1)",
        _published(
            _dps(_tasks_of("dps", "super_resolution", "inpainting_box", "inpainting_random"), 1.0),
            _dps(_tasks_of("dps", "gaussian_blur"), 0.4),
            _dps(_tasks_of("dps", "motion_blur"), 0.6),
        ),
        None, None, "a network for ImageNet at 256×256 pixels", 50,
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
