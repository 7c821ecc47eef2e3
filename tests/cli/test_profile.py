"""`vml-fast profile` with the tiny prior: its files, its tables, its refusals."""

import json

import pytest
import torch

from tests.cli.conftest import run
from vml_fast import trace
from vml_fast.cli.profile_run import PAGE, RECORD, TRACE, ProfileRun
from vml_fast.evaluation import profiling
from vml_fast.evaluation.tables import markdown

FAST = ("--steps", 2, "--inner-steps", 2, "--batch-size", 1, "--device", "cpu")


@pytest.fixture
def profile(prior, tmp_path):
    def call(*arguments, output="out"):
        return run("profile", "--prior", prior, "--output", tmp_path / output, *FAST, *arguments)

    return call


def test_it_writes_the_time_line_and_both_tables(profile, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = profile("--top", 5)
    assert result.exit_code == 0, result.output + repr(result.exception)
    folder = tmp_path / "out"
    names = {e["name"] for e in json.loads((folder / TRACE).read_text())["traceEvents"]}
    assert set(trace.RANGES) <= names

    record = json.loads((folder / RECORD).read_text())
    calls = {part["name"]: part["calls"] for part in record["parts"]}
    assert (calls["denoiser"], calls["vjp"], calls["transition"]) == (6, 4, 1)
    assert sum(part["share"] for part in record["parts"]) == pytest.approx(1.0)
    assert len(record["kernels"]) == 5
    step = record["inner_step"]
    assert step["ratio"] == pytest.approx(step["inner_step"] / step["bare_pass"])
    assert record["settings"]["task"] == "sr4"
    assert record["execution"]["device"] == "cpu"

    page = (folder / PAGE).read_text()
    for text in ("| vjp | 4 |", "| denoiser | 6 |", "ratio", record["kernels"][0]["name"]):
        assert text in page
    for text in ("denoiser", "transition", "Top kernels", "ratio", record["kernels"][0]["name"]):
        assert text in result.stdout


def test_capture_only_measures_one_solve_and_writes_nothing(profile, tmp_path, monkeypatch):
    measured = []
    real = profiling.capture_range

    def capture_range(device):
        measured.append(device)
        return real(device)

    monkeypatch.setattr(profiling, "capture_range", capture_range)
    result = profile("--capture-only")
    assert result.exit_code == 0, result.output
    assert "captured one solve of" in result.stdout
    assert measured == [torch.device("cpu")]
    assert not (tmp_path / "out").exists()


def test_the_backend_is_that_of_the_network_too(profile, monkeypatch):
    backends = []
    solve = ProfileRun.capture

    def capture(self):
        backends.append(self.denoiser.acceleration.backend)
        return solve(self)

    monkeypatch.setattr(ProfileRun, "capture", capture)
    assert profile("--capture-only", "--backend", "reference").exit_code == 0
    assert backends == ["reference"]


def test_the_prior_as_it_was_trained(profile, tmp_path):
    assert profile("--no-accelerate").exit_code == 0
    settings = json.loads((tmp_path / "out" / RECORD).read_text())["settings"]
    assert settings["accelerate"] is False


def test_results_are_replaced_only_when_told(profile, tmp_path):
    assert profile().exit_code == 0
    before = (tmp_path / "out" / RECORD).read_text()
    refused = profile()
    assert refused.exit_code == 2
    assert "--overwrite replaces it" in refused.stderr
    assert (tmp_path / "out" / RECORD).read_text() == before
    assert profile("--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--task", "magic"), "--task is 'magic'"),
        (("--task", "inpaint"), "--task inpaint needs a mask"),
        (("--method", "ddrm"), "--method is 'ddrm'"),
        (("--batch-size", 0), "--batch-size is 0"),
        (("--inner-steps", 0), "--inner-steps is 0"),
        (("--noise-std", -1), "--noise-std is -1.0"),
        (("--dtype", "int8"), "--dtype is 'int8'"),
        (("--dtype", "bfloat16", "--no-accelerate"), "--dtype is 'bfloat16' with --no-accelerate"),
        (("--backend", "magic"), "magic"),
        (("--device", "cuda:99"), "--device is 'cuda:99'"),
        (("--top", 0), "--top is 0"),
        (("--prior", "nobody"), "--prior nobody cannot be used"),
        (("--task", "sr8", "--steps", 0), "--steps is 0"),
    ],
)
def test_bad_input_gets_one_sentence(profile, tmp_path, arguments, sentence):
    result = profile(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_markdown_escapes_what_would_split_a_cell():
    assert markdown(("a", "b"), [("x|y", "1")]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n"
