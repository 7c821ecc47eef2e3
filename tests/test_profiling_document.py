"""The command lines of docs/profiling.md name options, ranges and a domain that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from vml_fast import trace
from vml_fast.cli.main import app
from vml_fast.cli.options import TASK_NAMES

DOCUMENT = Path(__file__).parents[1] / "docs" / "profiling.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
LINES = [line for block in BLOCKS for line in block.splitlines()]

# Of the tools' own manuals (Nsight Systems 2025, Nsight Compute 2025).
NSYS = {
    "--trace", "--sample", "--cpuctxsw", "--capture-range", "--capture-range-end",
    "--nvtx-domain-include", "--cuda-graph-trace", "--force-overwrite", "--output", "--report",
}  # fmt: skip
NSYS_VALUES = {
    "--capture-range": {"none", "cudaProfilerApi", "hotkey", "nvtx"},
    "--capture-range-end": {"none", "stop", "stop-shutdown"},
    "--cuda-graph-trace": {"graph", "node"},
    "--nvtx-domain-include": {trace.DOMAIN},
}
NCU = {
    "--profile-from-start", "--nvtx", "--nvtx-include", "--nvtx-push-pop-scope", "--clock-control",
    "--set", "--launch-count", "--force-overwrite", "--export", "--import", "--page",
    "--print-summary", "--graph-profiling",
}  # fmt: skip


def own_part(line: str) -> list[str]:
    """The words after the name of our command, or none."""
    words = shlex.split(line)
    return words[words.index("vml-fast") + 1 :] if "vml-fast" in words else []


def tool_part(line: str) -> list[str]:
    """The words before the name of our command."""
    words = shlex.split(line)
    return words[: words.index("vml-fast")] if "vml-fast" in words else words


def options(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def test_the_document_has_lines_of_every_tool() -> None:
    assert {shlex.split(line)[0] for line in LINES} == {"vml-fast", "nsys", "ncu"}


@pytest.mark.parametrize("line", [line for line in LINES if own_part(line)])
def test_our_own_part_is_understood(line: str) -> None:
    name, *arguments = own_part(line)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    with command.make_context(name, arguments) as context:
        assert context.params["task"] in TASK_NAMES
    if tool_part(line):
        assert context.params["capture_only"], "under Nsight only the measured part may run"


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("nsys")])
def test_options_of_nsight_systems(line: str) -> None:
    words = tool_part(line)
    assert words[1] in ("profile", "stats")
    assert options(words) <= NSYS
    for word in words:
        name, _, value = word.partition("=")
        assert value in NSYS_VALUES.get(name, {value}), word


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("ncu")])
def test_options_and_ranges_of_nsight_compute(line: str) -> None:
    words = tool_part(line)
    assert options(words) <= NCU
    filters = [words[i + 1] for i, word in enumerate(words) if word == "--nvtx-include"]
    assert bool(filters) == ("--nvtx" in words)
    for given in filters:
        domain, _, rest = given.partition("@")
        assert domain == trace.DOMAIN
        assert rest.endswith("/"), "ranges that are pushed and popped need the slash"
        assert rest.removesuffix("/") in trace.RANGES


def test_the_table_names_every_range() -> None:
    assert set(re.findall(r"^\| `([^`]+)` \|", TEXT, flags=re.MULTILINE)) == set(trace.RANGES)


def test_every_command_line_is_from_here() -> None:
    """A line for Nsight records what cudaProfilerStart and cudaProfilerStop enclose."""
    for line in LINES:
        if own_part(line) and tool_part(line):
            assert "--capture-range=cudaProfilerApi" in line or "--profile-from-start off" in line


def test_gpu_figures_are_not_claimed() -> None:
    assert TEXT.count("ot measured yet") == 3
