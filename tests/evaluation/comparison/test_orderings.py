"""The papers' orderings, on records whose verdict can be told by hand."""

import numpy as np
import pytest

from vml_fast.evaluation.comparison import budgets
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.comparison.orderings import (
    MAP_GA_LPIPS,
    PAIRS,
    ordering_summaries,
    ordering_tables,
    published,
    verdict,
)
from vml_fast.evaluation.comparison.results import Done
from vml_fast.evaluation.comparison.statistics import estimate
from vml_fast.operators import TASKS

BASE = np.linspace(0.1, 0.5, 8)
JITTER = np.random.default_rng(0).normal(0, 0.002, 8)
JITTER -= JITTER.mean()


def done(method, values, task="half", budget=20, noise_std=0.0, metric="st_lpips"):
    values = [float(v) for v in values]
    record = {"names": [f"i{k}" for k in range(len(values))], "metrics": {metric: values}}
    return Done(Cell(task, method, noise_std, budget, len(values), {"steps": 1}), record)


def row(tables, pair):
    (table,) = tables
    found = [line for line in table.rows if line[0].text == pair]
    return [entry.text for entry in found[0][1:]] if found else []


@pytest.mark.parametrize(
    ("change", "kept", "counts"),
    [(-0.05, "kept", "1 / 0 / 0"), (0.0, "open", "0 / 1 / 0"), (0.05, "reversed", "0 / 0 / 1")],
)
def test_a_smaller_distance_is_better(change, kept, counts):
    ones = [done("map-ga-d-np", BASE + change + JITTER), done("ddrm", BASE)]
    half = list(MAP_GA_LPIPS).index("half")
    assert row(ordering_tables(ones), "map-ga-d-np, ddrm")[half].split()[0] == kept
    assert row(ordering_summaries(ones), "map-ga-d-np, ddrm") == [counts]


def test_more_psnr_is_better():
    ones = [
        done("map-ga-d-np", 21.0 + JITTER, metric="psnr"),
        done("ddrm", 20.0 - JITTER, metric="psnr"),
    ]
    assert row(ordering_summaries(ones), "map-ga-d-np, ddrm") == ["1 / 0 / 0"]


def test_the_order_of_each_task_is_that_of_the_paper():
    assert published("pigdm", "ddrm", "half") == 1
    assert published("pigdm", "ddrm", "sr4") == -1  # .238 against .235
    assert published("map-ga-np", "map-ga", "box") == 0  # both .113
    assert published("pigdm", "ddrm", "deblur-motion") == 0
    worse = [done("pigdm", BASE + 0.1 + JITTER, "sr4"), done("ddrm", BASE, "sr4")]
    assert row(ordering_summaries(worse), "pigdm, ddrm") == ["1 / 0 / 0"]


def test_budgets_are_columns_and_what_is_missing_shows():
    ones = [done("map-ga-d-np", BASE - 0.05 + JITTER), done("ddrm", BASE)]
    ones += [done("map-ga-d-np", BASE, budget=100), done("pigdm", BASE + 0.1, budget=100)]
    summaries = ordering_summaries(ones)
    assert row(summaries, "map-ga-d-np, ddrm") == ["1 / 0 / 0", "–"]
    assert row(summaries, "map-ga-d-np, pigdm") == ["–", "1 / 0 / 0"]


def test_noise_failures_and_other_images_do_not_count():
    record = done("ddrm", BASE).record | {"failed": "no SVD"}
    failed = Done(Cell("half", "ddrm", 0.0, 20, 8, {"steps": 1}), record)
    fewer = done("ddrm", BASE[:4])
    for other in (done("ddrm", BASE, noise_std=0.05), failed, fewer):
        assert ordering_tables([done("map-ga-d-np", BASE - 0.1), other]) == []


def test_one_image_leaves_it_open():
    assert verdict(estimate([3.0])) == "open"


def test_every_ordering_names_what_exists():
    known = set(budgets.methods(0.0, consistency=True))
    assert all({one, other} <= known for one, other in PAIRS)
    assert all(task in TASKS and set(values) <= known for task, values in MAP_GA_LPIPS.items())
    assert len(set(PAIRS)) == len(PAIRS)
