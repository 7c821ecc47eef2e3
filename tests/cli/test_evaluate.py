"""`vml-fast evaluate` from the command line, with a tiny prior."""

import json
import shlex
from dataclasses import replace

import pytest

from tests.cli.conftest import run
from vml_fast.cli import evaluate as command
from vml_fast.cli import evaluate_run, evaluate_settings
from vml_fast.evaluation.comparison import budgets
from vml_fast.evaluation.comparison.budgets import BUDGETS
from vml_fast.evaluation.comparison.comparisons import COMPARISONS

SMALL = ("--tasks", "half", "--methods", "vml-map-pre,ddrm,bicubic", "--budgets", "20")


@pytest.fixture
def evaluate(prior, photos, tmp_path):
    def call(*arguments, output="out"):
        where = ("--prior", prior, "--data", photos, "--output", tmp_path / output)
        return run("evaluate", *arguments, *where)

    return call


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_the_help_lists_the_names_of_the_library():
    assert set(command.PRESET_NAMES) == set(COMPARISONS)
    assert command.BUDGET_NAMES == BUDGETS


def test_a_comparison_writes_its_tables(evaluate, tmp_path):
    result = evaluate(*SMALL, "--images", 2)
    assert result.exit_code == 0, result.output
    assert "3 of 3 cells" in result.output
    record = results(tmp_path / "out")
    assert len(record["cells"]) == 3
    assert record["provenance"]["data"] == "photos"
    for name in ("tables.md", "tables.tex", "report.html"):
        assert (tmp_path / "out" / name).stat().st_size > 100
    assert "ant, bee" in (tmp_path / "out" / "tables.md").read_text()


COMMANDS = [
    "--preset emoji64",
    "--preset emoji64 --prior elsewhere --data 'my photos' --seed 3 --dtype bfloat16 --resize",
    "--preset vml-map-emoji64 --tasks half,sr4 --noise-std 0,0.05 --budgets 420 --images 4",
    "--preset ddrm --prior emoji64 --data emoji64-heldout --inception-weights w/inception.pth",
    "--tasks half --methods ddrm,dps --noise-std 0.123456789,1e-07 --budgets 20,100",
    "--tasks sr4 --prior emoji64 --images 16 --device cpu --backend reference --consistency c/",
]  # fmt: skip


@pytest.mark.parametrize("text", COMMANDS)
def test_the_command_of_the_report_gives_the_same_settings(text, monkeypatch, tmp_path):
    parsed = []
    monkeypatch.setattr(evaluate_run, "run", lambda settings, *_, **__: parsed.append(settings))
    assert run("evaluate", *shlex.split(text), "--output", tmp_path).exit_code == 0
    command = shlex.split(parsed[0].command())
    assert command[:2] == ["vml-fast", "evaluate"]
    assert run(*command[1:], "--output", tmp_path).exit_code == 0
    assert parsed[0] == parsed[1]
    assert "--max-minutes" not in replace(parsed[0], max_seconds=3.0).command()


def test_what_was_not_said_is_not_in_the_command(monkeypatch, tmp_path):
    parsed = []
    monkeypatch.setattr(evaluate_run, "run", lambda settings, *_, **__: parsed.append(settings))
    run("evaluate", "--preset", "emoji64", "--prior", "emoji64", "--output", tmp_path)
    assert parsed[0].command() == "vml-fast evaluate --preset emoji64"


def test_a_priors_own_consistency_model_is_taken_and_named_in_its_cells(monkeypatch, tmp_path):
    parsed = []
    monkeypatch.setattr(evaluate_run, "run", lambda settings, *_, **__: parsed.append(settings))
    monkeypatch.setattr(evaluate_settings, "EMBEDDED", ("mine", "mine-consistency"))
    monkeypatch.setattr(evaluate_run, "weights_digest", lambda name: f"digest of {name}")
    task = ("--tasks", "half", "--output", tmp_path)
    for prior in ("mine", "other"):
        run("evaluate", *task, "--prior", prior)
    run("evaluate", *task, "--prior", "mine", "--consistency", "given")
    own, none, given = ({c.method: c for c in evaluate_run._cells(one)} for one in parsed)
    assert [one.consistency_model for one in parsed] == ["mine-consistency", None, "given"]
    assert own["map-ga"].settings["consistency"] == "digest of mine-consistency"
    assert "consistency" not in own["map-ga-d"].settings
    assert "map-ga" not in none  # and what it has keeps its name
    assert own["map-ga-d"].name({}) == none["map-ga-d"].name({})
    assert "consistency" not in given["map-ga"].settings  # but in the provenance
    assert budgets.describe(own["map-ga"].settings) == budgets.describe(given["map-ga"].settings)


def test_the_same_command_goes_on(evaluate, tmp_path):
    assert evaluate(*SMALL, "--images", 2, "--max-minutes", 0).exit_code == 0
    assert results(tmp_path / "out")["cells"] == {}
    evaluate(*SMALL, "--images", 2)
    first = results(tmp_path / "out")
    again = evaluate(*SMALL, "--images", 2, "--report-only")
    assert "3 of 3 cells" in again.output
    assert results(tmp_path / "out") == first
    evaluate("--tasks", "half,sr4", *SMALL[2:], "--images", 2)
    assert len(results(tmp_path / "out")["cells"]) == 6


def test_other_data_or_seeds_are_not_mixed_in(evaluate, tmp_path):
    evaluate(*SMALL, "--images", 2)
    refused = evaluate(*SMALL, "--images", 2, "--seed", 1)
    assert refused.exit_code == 2
    assert "was made with seed 0, now it is 1" in refused.output
    assert evaluate(*SMALL, "--images", 2, "--seed", 1, "--overwrite").exit_code == 0
    assert results(tmp_path / "out")["provenance"]["seed"] == 1


def test_what_a_method_cannot_do_is_said(evaluate, tmp_path):
    arguments = ("--tasks", "half", "--methods", "vml-map-tau,ddrm", "--budgets", "20")
    result = evaluate(*arguments, "--images", 1, "--noise-std", "0,.05")
    assert result.exit_code == 0, result.output
    assert "vml-map-tau has no cell at a noise level of 0: left out there" in result.stderr
    assert "ddrm has no cell" not in result.stderr
    assert len(results(tmp_path / "out")["cells"]) == 3


def test_a_report_needs_a_record(evaluate, tmp_path):
    result = evaluate(*SMALL, "--images", 1, "--report-only")
    assert result.exit_code == 2 and "holds no finished cell" in result.stderr
    assert not (tmp_path / "out").exists()


def test_records_are_not_removed_for_a_report(evaluate, tmp_path):
    result = evaluate(*SMALL, "--images", 1, "--report-only", "--overwrite")
    assert result.exit_code == 2 and "pass one of them" in result.stderr


@pytest.mark.parametrize("chosen", [("--noise-std", "0.05"), ("--tasks", "box")])
def test_a_choice_that_leaves_no_method_is_refused(evaluate, tmp_path, chosen):
    result = evaluate("--preset", "emoji64", "--budgets", "1000", *chosen)
    assert result.exit_code == 2 and "--preset emoji64 has no cell with these" in result.stderr


def test_a_method_without_its_model_is_refused(evaluate, tmp_path):
    result = evaluate("--tasks", "half", "--methods", "map-ga,ddrm", "--images", 1)
    assert result.exit_code == 2 and "map-ga needs a consistency model" in result.stderr


def test_what_was_measured_in_some_cells_only_is_said():
    records = [
        {"metrics": {"psnr": [1.0], "st_lpips": [0.1]}, "sets": {}},
        {"metrics": {"psnr": [1.0]}, "sets": {}},
        {"failed": "why"},
    ]
    assert evaluate_run._partial(records) == ["ST-LPIPS (AlexNet): measured in 1 of 2 cells."]


@pytest.mark.parametrize("given", ["--output", "--preset"])
def test_options_of_a_study_come_after_its_name(given, tmp_path):
    result = run("evaluate", given, "emoji64", "toy", "--samples", 1, "--output", tmp_path / "out")
    assert result.exit_code == 2 and f"{given} stands before toy" in result.stderr
    assert not (tmp_path / "out").exists()


def test_published_settings_run_on_any_prior(evaluate, tmp_path):
    result = evaluate("--preset", "ddrm", "--tasks", "ddrm/sr4,ddrm/color", "--images", 2)
    assert result.exit_code == 0, result.output
    cells = [record["cell"] for record in results(tmp_path / "out")["cells"].values()]
    assert {cell["noise_std"] for cell in cells} == {0.0, 0.1}


@pytest.mark.parametrize("preset", [name for name in COMPARISONS if "emoji64" not in name])
def test_a_preset_without_its_network_says_what_to_pass(preset, tmp_path):
    result = run("evaluate", "--preset", preset, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert f"--preset {preset} needs a network for" in result.output
    assert "--prior" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--images", "2"), "--preset nor --tasks"),
        (("--preset", "nope"), "--preset is 'nope'"),
        (("--preset", "emoji64", "--noise-std", "0.3"), "--noise-std holds 0.3"),
        (("--preset", "emoji64", "--budgets", "21"), "--budgets holds 21"),
        (("--preset", "emoji64", "--methods", "nope"), "--methods holds 'nope'"),
        (("--tasks", "half", "--dtype", "int8"), "--dtype is 'int8'"),
        (("--tasks", "nope"), "--tasks is 'nope'"),
        (("--tasks", ","), "at least one value"),
        (("--tasks", "half", "--methods", "nope"), "--methods is 'nope'"),
        (
            ("--tasks", "half", "--methods", "vml-map-tau"),
            "--methods is 'vml-map-tau'; without noise",
        ),
        (("--tasks", "half", "--budgets", "50"), "--budgets holds 50"),
        (("--tasks", "half", "--budgets", "many"), "--budgets is 'many'"),
        (("--tasks", "half", "--noise-std", "-1"), "--noise-std is -1.0"),
        (("--tasks", "half", "--images", "0"), "--images is 0"),
        (("--tasks", "half", "--images", "9"), "--images is 9; it must be 1 to 3"),
        (("--tasks", "half", "--max-minutes", "-1"), "--max-minutes is -1"),
        (("--tasks", "half", "--seed", "-1"), "--seed is -1"),
        (("--tasks", "half", "--device", "tpu"), "--device is 'tpu'"),
        (("--tasks", "half", "--images", "2", "--consistency", "nowhere"), "--consistency nowhere"),
        (
            ("--tasks", "half", "--images", "2", "--inception-weights", "no.pth"),
            "no.pth are no file",
        ),
        (("--preset", "emoji64", "--tasks", "denoise", "--images", "2"), "--tasks holds 'denoise'"),
    ],
)
def test_bad_options_are_one_sentence(evaluate, tmp_path, arguments, words):
    result = evaluate(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert "Traceback" not in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "out").exists()
