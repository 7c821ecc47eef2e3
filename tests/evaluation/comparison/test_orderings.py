"""The papers' orderings, on records whose verdict can be told by hand."""

import numpy as np
import pytest

from vml_fast.evaluation.comparison import budgets
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.comparison.orderings import ORDERINGS, SOURCES, ordering_tables, verdict
from vml_fast.evaluation.comparison.results import Done
from vml_fast.evaluation.comparison.statistics import estimate
from vml_fast.operators import TASKS

BASE = np.linspace(0.1, 0.5, 8)
JITTER = np.random.default_rng(0).normal(0, 0.002, 8)


def done(method, st_lpips, task="half", budget=20, noise_std=0.0):
    values = [float(v) for v in st_lpips]
    record = {"names": [f"i{k}" for k in range(len(values))], "metrics": {"st_lpips": values}}
    return Done(Cell(task, method, noise_std, budget, len(values), {"steps": 1}), record)


def entries(ones, row="map-ga-d-np before ddrm", task="half"):
    (table,) = ordering_tables(ones)
    found = [line for line in table.rows if (line[0].text, line[1].text) == (row, task)]
    return [entry.text.split()[0] for entry in found[0][3:]] if found else []


@pytest.mark.parametrize(
    ("change", "expected"), [(-0.05, "holds"), (0.05, "reversed"), (0.0, "open")]
)
def test_a_smaller_distance_is_better(change, expected):
    ones = [done("map-ga-d-np", BASE + change + JITTER - JITTER.mean()), done("ddrm", BASE)]
    assert entries(ones) == [expected]


def test_more_psnr_is_better():
    ones = []
    for method, psnr in (("map-ga-d-np", 21.0 + JITTER), ("ddrm", 20.0 - JITTER)):
        one = done(method, BASE)
        one.record["metrics"] = {"psnr": psnr.tolist()}
        ones.append(one)
    assert entries(ones) == ["holds"]


def test_budgets_are_columns_and_what_is_missing_shows():
    ones = [done("map-ga-d-np", BASE - 0.05 + JITTER), done("ddrm", BASE)]
    ones += [done("map-ga-d-np", BASE, budget=100), done("pigdm", BASE + 0.1, budget=100)]
    assert entries(ones) == ["holds", "–"]
    assert entries(ones, "map-ga-d-np before pigdm") == ["–", "holds"]


def test_noise_failures_and_other_images_do_not_count():
    failed = Done(Cell("half", "ddrm", 0.0, 20, 8, {"steps": 1}), {"failed": "no SVD"})
    fewer = done("ddrm", BASE[:4])
    for other in (done("ddrm", BASE, noise_std=0.05), failed, fewer):
        assert ordering_tables([done("map-ga-d-np", BASE - 0.1), other]) == []


def test_one_image_leaves_it_open():
    assert verdict(estimate([3.0])) == "open"


def test_every_ordering_names_what_exists():
    known = budgets.methods(0.0, consistency=True)
    for ordering in ORDERINGS:
        assert ordering.source in SOURCES
        assert ordering.task in TASKS
        assert {ordering.better, ordering.worse} <= set(known)
    assert len(set(ORDERINGS)) == len(ORDERINGS)
