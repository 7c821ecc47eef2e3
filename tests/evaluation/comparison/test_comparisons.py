"""The named comparisons hold the cells that they are for."""

from collections import Counter

import pytest

from vml_fast.errors import InputError
from vml_fast.evaluation.comparison import comparisons
from vml_fast.evaluation.comparison.cells import INTERPOLATIONS
from vml_fast.evaluation.comparison.grids import select
from vml_fast.evaluation.measurements import make_operator
from vml_fast.solvers import BASELINES, METHODS

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


def test_published_settings():
    ddrm = solved("ddrm")
    assert {(c.noise_std, c.settings["steps"]) for c in ddrm} == {(0.1, 20)}
    daps = solved("daps")
    assert {(c.noise_std, c.settings["steps"], c.settings["ode_steps"]) for c in daps} == {
        (0.05, 200, 5)
    }
    assert {c.noise_std for c in solved("map-ga")} == {0.0}


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
