"""The named comparisons hold the cells that they are for."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.evaluation.comparison import comparisons
from vml_fast.evaluation.comparison.budgets import CONSISTENCY_METHODS
from vml_fast.evaluation.comparison.cells import INTERPOLATIONS
from vml_fast.evaluation.comparison.grids import select
from vml_fast.evaluation.measurements import make_operator
from vml_fast.solvers import BASELINES, METHODS, restore

PLAIN = comparisons.Request(None, consistency=False)


def solved(name, request=PLAIN):
    cells = comparisons.comparison(name).cells(request)
    return [cell for cell in cells if cell.method not in INTERPOLATIONS]


def test_emoji64_is_every_method_on_every_task():
    counts = Counter((c.noise_std, c.budget, c.images) for c in solved("emoji64"))
    assert counts == {
        (0.0, 20, 16): 80, (0.0, 100, 16): 80, (0.05, 20, 16): 90, (0.05, 100, 16): 90,
        (0.0, 200, 8): 24, (0.0, 1000, 8): 24,
    }  # fmt: skip
    assert {c.task for c in solved("emoji64") if c.budget == 1000} == {
        "half", "sr4", "deblur-gauss",
    }  # fmt: skip
    methods = {c.method for c in solved("emoji64", comparisons.Request(None, consistency=True))}
    assert methods == {*METHODS, *BASELINES}


def test_all_images_where_asked_for():
    found = solved("emoji64", comparisons.Request(189, consistency=False))
    assert {cell.images for cell in found} == {189}


def test_the_forms_of_vml_map():
    found = solved("vml-map-emoji64")
    assert Counter(c.budget for c in found) == {220: 3, 420: 35, 2020: 3}
    assert all(c.settings["steps"] == 20 for c in found)
    assert sum(c.assumed_noise_std == 0.0 for c in found) == 5


@pytest.mark.parametrize("name", comparisons.COMPARISONS)
def test_cells_are_distinct_and_possible(name):
    cells = comparisons.comparison(name).cells(comparisons.Request(None, consistency=True))
    assert len({cell.name({}) for cell in cells}) == len(cells)
    for task in {cell.task for cell in cells}:
        make_operator(task, (3, 64, 64))
    known = {*METHODS, *BASELINES, *INTERPOLATIONS}
    assert {cell.method for cell in cells} <= known


def settings_of(name, *keys, with_c=True):
    """Task, noise level and some settings of every cell."""
    found = solved(name, comparisons.Request(None, consistency=with_c))
    return {(c.task, c.noise_std, *(c.settings[key] for key in keys)) for c in found}


def test_ddrm_as_published():
    found = settings_of("ddrm", "steps")
    assert {(noise_std, steps) for _, noise_std, steps in found} == {(0.0, 20), (0.1, 20)}


def test_daps_as_published():
    """The Langevin step of each task is that of the authors' task files (`lr`)."""
    assert settings_of("daps", "steps", "ode_steps", "langevin_steps", "step_size") == {
        (f"daps/{task}", 0.05, 200, 5, 100, step)
        for task, step in {
            "down_sampling": 1e-4, "inpainting_rand": 1e-4, "gaussian_blur": 1e-4,
            "inpainting": 5e-5, "motion_blur": 5e-5,
        }.items()
    }  # fmt: skip


def test_dps_as_published():
    assert {c.budget for c in solved("dps")} == {2000}
    assert {(zeta, steps) for *_, zeta, steps in settings_of("dps", "zeta", "steps")} == {
        (1.0, 1000)
    }
    imagenet = {task: zeta for task, _, zeta in settings_of("dps-imagenet", "zeta")}
    assert set(imagenet) == {task for task, _ in settings_of("dps")}
    assert imagenet["dps/gaussian_blur"] == 0.4
    assert imagenet["dps/motion_blur"] == 0.6


def test_map_ga_as_published():
    counted = Counter(c.method for c in solved("map-ga", comparisons.Request(None, True)))
    assert counted == dict.fromkeys(
        ("map-ga", "map-ga-np", "map-ga-d", "map-ga-d-np", "pigdm", "ddrm"), 7
    )
    splits = settings_of("map-ga-splits", "steps", with_c=False)
    assert {steps for *_, steps in splits} == {20, 50, 100, 200, 250, 500, 1000}
    for cell in solved("map-ga-splits"):
        if "map-ga" in cell.method:
            assert cell.settings["steps"] * cell.settings["inner_steps"] == 1000
    noisy = solved("map-ga-noisy", comparisons.Request(None, True))
    assert {(c.noise_std, c.method) for c in noisy} == {
        (level, method) for level in (0.05, 0.1) for method in ("map-ga-np", "map-ga-d-np", "pigdm")
    }
    assert {c.settings["pigdm_steps"] for c in noisy if c.method != "pigdm"} == {20}


@pytest.mark.parametrize("name", ["map-ga", "map-ga-noisy"])
def test_the_budget_is_what_a_published_method_takes(name):
    """By a run of each on a small problem: forwards and Jacobian products together."""

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return 0.5 * x

    for cell in solved(name, comparisons.Request(None, True)):
        if cell.task != "map-ga/half" or cell.noise_std == 0.1:
            continue
        operator = make_operator(cell.task, (3, 12, 12))
        options = dict(cell.settings)
        if cell.method in CONSISTENCY_METHODS:
            options["consistency"] = denoiser
        result = restore(
            torch.zeros(1, *operator.measurement_shape), operator, denoiser,
            method=cell.method, noise_std=cell.noise_std, **options,
        )  # fmt: skip
        assert result.denoiser_calls + result.vjp_calls == cell.budget, cell


def test_selecting_keeps_the_interpolations_of_what_is_left():
    cells = comparisons.comparison("emoji64").cells(PLAIN)
    found = select(cells, methods=["ddrm"], tasks=["sr4"], noise_stds=[0.05])
    assert {c.method for c in found} == {"ddrm", *INTERPOLATIONS}
    assert {(c.task, c.noise_std) for c in found} == {("sr4", 0.05)}
    by_label = select(
        comparisons.comparison("vml-map-emoji64").cells(PLAIN),
        methods=["vml-map-pre as if noiseless"],
    )
    assert {c.assumed_noise_std for c in by_label if c.budget} == {0.0}


@pytest.mark.parametrize(
    "what",
    [{"methods": ["x"]}, {"tasks": ["x"]}, {"noise_stds": [0.3]}, {"chosen_budgets": [21]}],
)
def test_selecting_what_is_not_there(what):
    with pytest.raises(InputError, match="this comparison has"):
        select(comparisons.comparison("emoji64").cells(PLAIN), **what)


def test_unknown_names():
    with pytest.raises(InputError, match="preset is 'x'"):
        comparisons.comparison("x")
    with pytest.raises(InputError, match="task 'inpaint' needs a mask"):
        make_operator("inpaint", (3, 8, 8))
