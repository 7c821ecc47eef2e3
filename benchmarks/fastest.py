"""Regenerates `vml_fast/ops/fastest.json`, by which backend="auto" chooses, from records.

    python -m benchmarks.run brackets kernels
    python -m benchmarks.fastest

replaces the part of the table that belongs to the kind of this machine, CPU or GPU, and leaves the
other one alone. Per op the backends are ordered by the geometric mean of their times over the cases
that all of them were measured on.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, machine_tag
from benchmarks.records import Machine, load, ranking
from vml_fast.evaluation.files import write_whole
from vml_fast.ops.backends import FASTEST


def with_measurements(table: dict[str, Any], machine: Machine) -> dict[str, Any]:
    """The table with the part of the machine's kind replaced.

    Raises:
        ValueError: the machine has no record of single ops.
    """
    ops = {op: ranking(by_case) for op, by_case in sorted(machine.ops().items())}
    if not ops:
        raise ValueError(f"{machine.tag} has no record of brackets or kernels; run them first")
    measured_on = f"{machine.device}, torch {machine.torch}"
    return {**table, machine.kind: {**table[machine.kind], "measured_on": measured_on, "ops": ops}}


def written(table: dict[str, Any]) -> str:
    """JSON with every list on one line."""
    text = json.dumps(table, indent=1)
    return re.sub(r"\[[^\]{}]*\]", lambda found: json.dumps(json.loads(found[0])), text) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Rewrite the table."""
    parser = argparse.ArgumentParser(description="Regenerate the table of the fastest backends.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    parser.add_argument("--machine", default=machine_tag(), help="its folder, by default this one")
    parser.add_argument("--table", type=Path, default=FASTEST, help="the file to rewrite")
    given = parser.parse_args(arguments)
    table = json.loads(given.table.read_text(encoding="utf-8"))
    table = with_measurements(table, load(given.results / given.machine))
    text = written(table)
    write_whole(given.table, lambda file: file.write(text.encode()))
    print(text, end="")


if __name__ == "__main__":
    main()
