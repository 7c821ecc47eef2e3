"""Regenerates `vml_fast/ops/fastest.json`, by which backend="auto" chooses, from records.

    python -m benchmarks.run brackets kernels
    python -m benchmarks.fastest

replaces the part of the table that belongs to the kind of this machine, CPU or GPU, and leaves the
other one alone. Per op the backends are ordered by the geometric mean of their times over the cases
that all of them were measured on. Where another one is plainly faster on some dtype, memory format
and size of image, a rule of its own says so; between two sizes it holds up to their geometric mean.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, machine_tag
from benchmarks.records import Entry, Machine, Measured, load, median, ranking
from vml_fast.evaluation.files import write_whole
from vml_fast.ops.fastest import FASTEST

PLAINLY = 1.1
"""How many times faster another backend must be for a rule of its own: less may be noise."""

Row = dict[str, Any]
"""A rule as the table holds it."""


def with_measurements(table: dict[str, Any], machine: Machine) -> dict[str, Any]:
    """The table with the part of the machine's kind replaced.

    Raises:
        ValueError: the machine has no record of single ops.
    """
    ops = {op: rules(list(by_case.values())) for op, by_case in sorted(machine.ops().items())}
    if not ops:
        raise ValueError(f"{machine.tag} has no record of brackets or kernels; run them first")
    measured_on = f"{machine.device}, torch {machine.torch}"
    return {**table, machine.kind: {**table[machine.kind], "measured_on": measured_on, "ops": ops}}


def rules(cases: list[Measured]) -> list[Row]:
    """The rules of an op, the last one for all images."""
    usual = ranking(cases)
    formats: dict[tuple[str, str], list[tuple[int, list[str]]]] = {}
    for case in cases:
        image = _image(case)
        if image is not None:
            sizes = formats.setdefault((image["dtype"], image["memory_format"]), [])
            sizes.append((image["elements"], order(case, usual)))
    rows: list[Row] = []
    for (dtype, memory_format), sizes in formats.items():
        runs = _runs(sorted(sizes))
        if [names for _, names in runs] != [usual]:
            about = {"dtype": dtype, "memory_format": memory_format}
            rows += [{"order": names, **about, "elements": most} for most, names in runs]
    return [*rows, {"order": usual}]


def order(case: Measured, usual: list[str]) -> list[str]:
    """Backends on one case: the usual order, unless another one is plainly faster here."""
    here = ranking([case])
    gain = median(case[usual[0]]) / median(case[here[0]])
    return [here[0], *(name for name in usual if name != here[0])] if gain > PLAINLY else usual


def _runs(sizes: list[tuple[int, list[str]]]) -> list[tuple[int | None, list[str]]]:
    """Sizes with the same order in one: (most elements, order), the last without a limit."""
    found: list[tuple[int | None, list[str]]] = []
    for (size, names), (following, others) in itertools.pairwise(sizes):
        if names != others:
            found.append((round(math.sqrt(size * following)), names))
    return [*found, (None, sizes[-1][1])]


def _image(case: Measured) -> dict[str, Any] | None:
    entry: Entry = next(iter(case.values()))
    return entry["extra_info"].get("image")


def written(table: dict[str, Any]) -> str:
    """JSON with every list of names, and every rule, on one line."""
    text = json.dumps(table, indent=1)
    for innermost in (r"\[[^\]{}\[]*\]", r"\{\s*\"order\"[^{}]*\}"):
        text = re.sub(innermost, lambda found: json.dumps(json.loads(found[0])), text)
    return text + "\n"


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
