"""`vml-fast bench` with the tiny prior: table, record, chart, refusals."""

import json

import pytest
from PIL import Image

from tests.cli.conftest import run
from vml_fast.cli.bench import RUNG_KEYS
from vml_fast.cli.bench_run import CHART, RECORD
from vml_fast.evaluation import ladder

FAST = ("--steps", 1, "--inner-steps", 2, "--batch-size", 2, "--repeats", 1, "--device", "cpu")
QUICK = ("--skip", "compile")


@pytest.fixture
def bench(prior):
    return lambda *arguments: run("bench", "--prior", prior, *FAST, *QUICK, *arguments)


def test_the_help_lists_the_rungs():
    assert ("reference", *RUNG_KEYS) == ladder.KEYS


def test_it_prints_the_table_and_writes_record_and_chart(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = bench("--output", tmp_path / "out")
    assert result.exit_code == 0, result.output + repr(result.exception)
    for text in ("plain PyTorch", "+ fused ops", "+ fused network", "without compile: not asked"):
        assert text in result.stdout
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record["rows"][0]["key"] == "reference"
    assert record["rows"][0]["speed_up"] == 1
    assert {row["key"] for row in record["rows"]} | set(record["left_out"]) == set(ladder.KEYS)
    assert record["settings"]["repeats"] == 1
    assert record["execution"]["device_name"]
    with Image.open(tmp_path / "out" / CHART) as picture:
        assert picture.width > 500


def test_without_an_output_nothing_is_written(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bench("--skip", "network").exit_code == 0
    assert not list(tmp_path.iterdir())


def test_the_chart_can_be_left_out_and_results_are_kept(bench, tmp_path):
    assert bench("--output", tmp_path / "out", "--no-chart").exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [RECORD]
    refused = bench("--output", tmp_path / "out")
    assert refused.exit_code == 2
    assert "--overwrite replaces it" in refused.stderr
    assert bench("--output", tmp_path / "out", "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--repeats", 0), "--repeats is 0"),
        (("--skip", "reference"), "--skip is 'reference'"),
        (("--task", "magic"), "--task is 'magic'"),
        (("--batch-size", 0), "--batch-size is 0"),
    ],
)
def test_bad_input_gets_one_sentence(bench, tmp_path, arguments, sentence):
    result = bench("--output", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
