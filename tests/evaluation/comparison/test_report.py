"""Tables, intervals and figures, against values that can be counted by hand."""

import math
import re

import numpy as np
import pytest

from tests.evaluation.comparison.problems import PROVENANCE, cells, runner
from vml_fast.evaluation.comparison import plots, results, tables
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.comparison.report import Report
from vml_fast.evaluation.comparison.results import Done
from vml_fast.evaluation.comparison.run import run_cells
from vml_fast.evaluation.comparison.statistics import difference, estimate
from vml_fast.evaluation.comparison.store import Store


def done(method, budget, psnr, task="half", passes=None):
    record = {
        "names": [f"i{k}" for k in range(len(psnr))],
        "metrics": {"psnr": psnr},
        "denoiser_calls": budget if passes is None else passes,
        "vjp_calls": 0,
        "seconds": 4.0,
    }
    return Done(Cell(task, method, 0.0, budget, len(psnr), {"steps": budget}), record)


def test_the_interval_is_that_of_a_mean():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    found = estimate(values.tolist())
    error = values.std(ddof=1) / math.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error * 1.96)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error * 1.96)


@pytest.mark.parametrize("count", [4, 8, 16])
def test_the_interval_of_a_few_images_covers_as_often_as_it_says(count):
    draws = np.random.default_rng(3).normal(1.0, 2.0, (2000, count))
    found = [estimate(values.tolist()) for values in draws]
    covered = sum(one.low <= 1.0 <= one.high for one in found) / len(found)
    assert covered == pytest.approx(0.95, abs=0.015)


def test_pairs_take_the_spread_between_images_out():
    easy_and_hard = np.linspace(10, 40, 16)
    change = np.random.default_rng(2).normal(0.5, 0.1, 16)
    found = difference((easy_and_hard + change).tolist(), easy_and_hard.tolist())
    assert found.mean == pytest.approx(change.mean())
    assert 0 < found.low < found.mean < found.high < 1


@pytest.mark.parametrize("values", [[1.0], [1.0, math.inf], [math.nan, 2.0]])
def test_no_interval_where_there_is_none(values):
    assert not estimate(values).has_interval


def test_equal_values_have_an_interval_of_no_width():
    assert estimate([2.5] * 5) == (2.5, 2.5, 2.5)


def test_the_best_method_of_a_task_is_bold():
    ones = [done("vml-map-pre", 20, [20.0, 22.0]), done("ddrm", 20, [19.0, 18.0])]
    ones.append(done("bicubic", 0, [40.0, 42.0]))
    group = results.groups([one.cell for one in ones])[0]
    table = results.metric_tables(ones, group)[0]
    best = {row[0].text: row[1].best for row in table.rows}
    assert best == {"vml-map-pre": True, "ddrm": False, "bicubic": False}
    # 21 ± 12.71 √2/√2, the t quantile of one degree of freedom
    assert "| vml-map-pre | **21.00** [8.29, 33.71] |" in tables.markdown(table)


def test_one_method_alone_is_not_the_best():
    ones = [done("vml-map-pre", 20, [20.0, 22.0]), done("bicubic", 0, [40.0, 42.0])]
    table = results.metric_tables(ones, (0.0, 20, 2))[0]
    assert not any(row[1].best for row in table.rows)


def test_settings_that_differ_from_task_to_task_are_all_named():
    ones = [done("dps", 20, [20.0]), done("dps", 20, [20.0], task="sr4")]
    ones[1] = Done(Cell("sr4", "dps", 0.0, 20, 1, {"steps": 10}), ones[1].record)
    assert results.cost_table(ones, (0.0, 20, 1)).rows[0][1].text == "20; 10"


def test_the_difference_is_against_the_reference():
    ones = [done("vml-map-pre", 20, [20.0, 22.0]), done("ddrm", 20, [19.0, 20.0])]
    table = results.metric_tables(ones, (0.0, 20, 2))[1]
    assert [row[0].text for row in table.rows] == ["ddrm"]
    assert table.rows[0][1].text == "-1.50"


def test_what_is_missing_or_failed_shows():
    ones = [done("vml-map-pre", 20, [20.0, 22.0]), done("ddrm", 20, [19.0, 20.0], "sr4")]
    ones.append(Done(Cell("sr4", "dps", 0.0, 20, 2, {"steps": 10}), {"failed": "no SVD"}))
    table = results.overview(ones, (0.0, 20, 2))
    rows = {row[0].text: [entry.text for entry in row[1:]] for row in table.rows}
    assert rows == {"vml-map-pre": ["21.00", "–"], "ddrm": ["–", "19.50"], "dps": ["–", "fails"]}
    assert "no SVD" in results.failures(ones)[0]


def test_divergence_and_exactness_have_words():
    assert tables.shown(math.nan, ".2f") == "diverged"
    assert tables.shown(math.inf, ".2f") == "∞"
    exact = [done("vml-map-pre", 20, [math.inf]), done("ddrm", 20, [math.inf])]
    assert results.metric_tables(exact, (0.0, 20, 1))[1].rows[0][1].text == "–"


def test_bars_do_not_break_a_markdown_table():
    table = tables.Table("title", ["|x|", "n"], [[tables.Entry("a|b"), tables.Entry("1")]])
    assert tables.markdown(table).splitlines()[2:] == [
        r"| \|x\| | n |", "| --- | ---: |", r"| a\|b | 1 |",
    ]  # fmt: skip


def test_latex_is_escaped():
    table = tables.Table("σ_y = 5 % & more", ["a_b", "c"], [[tables.Entry("x"), tables.Entry("1")]])
    text = tables.latex(table)
    assert r"$\sigma_y$ = 5 \% \& more" in text
    assert r"a\_b & c \\" in text


def test_the_pareto_front():
    points = [(20, 1.0), (20, 2.0), (100, 1.5), (100, 3.0), (50, 2.0)]
    assert plots.pareto_front(points, +1) == [(20, 2.0), (100, 3.0)]
    assert plots.pareto_front(points, -1) == [(20, 1.0)]


def test_curves_are_of_common_images():
    few = done("ddrm", 200, [21.0, 23.0])
    many = Done(few.cell, few.record).only(["i1"])
    assert many.values("psnr") == [23.0]
    ones = [done("ddrm", 20, [10.0, 20.0, 30.0, 40.0]), few]
    found = plots._on_common(ones, "psnr", 0.0, "half")
    assert [one.values("psnr") for one in found] == [[10.0, 20.0], [21.0, 23.0]]


def test_what_diverged_everywhere_is_drawn_without_a_front():
    ones = [done("ddrm", budget, [math.nan, math.nan]) for budget in (20, 100)]
    assert plots.pareto_figure(ones, "psnr", 0.0) is not None


def test_interpolations_alone_have_a_report(tmp_path):
    store, setting = Store(tmp_path, PROVENANCE), runner()
    plain = [Cell("half", "bicubic", 0.0, 0, 4)]
    run_cells(plain, setting, store)
    Report("title", "command").write(plain, setting, store)
    text = (tmp_path / "tables.md").read_text()
    assert "### PSNR, dB, noiseless, no network, 4 images" in text
    assert "Cost" not in text and "What each method gets" not in text


def test_the_report_is_whole_and_self_contained(tmp_path):
    store, setting = Store(tmp_path, PROVENANCE), runner()
    run_cells(cells(), setting, store)
    larger = Cell("half", "vml-map-pre", 0.0, 100, 4, {"steps": 10, "inner_steps": 2})
    run_cells([larger], setting, store)
    missing = Cell("half", "dps", 0.0, 100, 4, {"steps": 50})
    report = Report("A <title>", "vml-fast evaluate", ["a note & more"])
    files = report.write([*cells(), larger, missing], setting, store)
    assert all(path.stat().st_size > 0 for path in files)
    page = (tmp_path / "report.html").read_text()
    assert "7 of 8 cells are done" in page
    assert "A &lt;title&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<img") == len(list((tmp_path / "figures").glob("*.png"))) >= 3
    text = (tmp_path / "tables.md").read_text()
    assert "* a note & more" in text
    assert "| vml-map-pre |" in text


def test_a_grid_is_not_replaced_by_one_with_fewer_methods(tmp_path):
    store, setting = Store(tmp_path, PROVENANCE), runner()
    run_cells(cells(), setting, store)
    store.merge(cells())
    Report("title", "command").write(cells(), setting, store)
    grid = tmp_path / "figures" / "half-noise0-20-4.png"
    whole = grid.read_bytes()
    for path in store.cells.glob("half-ddrm-*"):
        path.unlink()
    Report("title", "command").write(cells(), setting, Store(tmp_path, PROVENANCE))
    assert grid.read_bytes() == whole
    grid.unlink()  # where there is none, a part is better than nothing
    Report("title", "command").write(cells(), setting, Store(tmp_path, PROVENANCE))
    assert grid.is_file() and grid.read_bytes() != whole


def test_curves_of_other_cells_are_not_shown(tmp_path):
    store, setting = Store(tmp_path, PROVENANCE), runner()
    run_cells(cells(), setting, store)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "passes-psnr-noise0.png").write_bytes(b"of two budgets")
    drawn = Report("title", "command").write(cells(), setting, store)
    assert "passes-psnr-noise0.png" not in {path.name for path in drawn}


def test_a_report_from_the_merged_file_keeps_its_figures(tmp_path):
    store, setting = Store(tmp_path, PROVENANCE), runner()
    run_cells(cells(), setting, store)
    store.merge(cells())
    report = Report("title", "command")
    before = report.write(cells(), setting, store)
    for path in store.cells.glob("*"):
        path.unlink()
    assert report.write(cells(), setting, Store(tmp_path, PROVENANCE)) == before
