"""The Python of the README runs as it stands, and the commands of the pages have their options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from vml_fast.cli.main import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
ONE_IMAGE = ("images[:4]", "images[:1]")


def run_first_python_block(*replacements: tuple[str, str]) -> dict[str, Any]:
    """The names that the block defines, run with texts replaced where they first stand."""
    block = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    code = block[1]
    for old, new in replacements:
        assert old in code
        code = code.replace(old, new, 1)
    names: dict[str, Any] = {}
    exec(compile(code, str(README), "exec"), names)
    return names


@pytest.mark.slow
def test_first_python_block_runs() -> None:
    names = run_first_python_block(ONE_IMAGE)
    assert names["result"].image.shape == (1, 3, 64, 64)
    assert names["solver"].steps == 20


def test_first_python_block_runs_with_few_steps() -> None:
    names = run_first_python_block(
        ONE_IMAGE,
        ("seed=0, progress=True", "seed=0, steps=2, inner_steps=1"),
        ("steps=20, inner_steps=10", "steps=2, inner_steps=1"),
    )
    assert names["result"].image.shape == (1, 3, 64, 64)
    assert names["result"].denoiser_calls == 2 * (1 + 1)


def commands() -> list[Any]:
    """Every `vml-fast COMMAND ...` of the pages: the page, the command, its options."""
    found = []
    for page in PAGES:
        for line in re.findall(r"vml-fast ([a-z][^`\n]*)", page.read_text(encoding="utf-8")):
            options = re.findall(r"(?<!\S)--[a-z][a-z-]*", line)
            if options:
                found.append(pytest.param(line, options, id=f"{page.name}: {line[:40]}"))
    return found


def command_of(line: str) -> Any:
    """The command that a line begins with, down to the subcommand."""
    found: Any = typer.main.get_command(app)
    for word in line.split():
        if word not in getattr(found, "commands", {}):
            break
        found = found.commands[word]
    return found


@pytest.mark.parametrize(("line", "options"), commands())
def test_options_of_the_pages_exist(line: str, options: list[str]) -> None:
    command = command_of(line)
    assert command.name != "vml-fast", f"no command in {line!r}"
    known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    assert set(options) <= known
