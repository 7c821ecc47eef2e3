"""The records of a machine, read back: ops by case and backend, inner steps, solves, promises."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cases import PARAMETERS, Case
from benchmarks.claims import Claim

Entry = dict[str, Any]
Measured = dict[str, Entry]
"""Backend to its entry."""

SUITE_STEPS = "steps"


@dataclass
class Machine:
    """Everything that was measured on one machine.

    Attributes:
        tag: the folder of the records.
        device: what the device calls itself.
        kind: "cpu" or "cuda".
        torch: version.
        commits: of the records, shortened; more than one if they were measured at different times.
        entries: all benchmarks.
        launches: rows of the launch counts.
        steps: rows of the suite's steps that are not benchmarks.
    """

    tag: str
    device: str = ""
    kind: str = ""
    torch: str = ""
    commits: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    launches: list[Entry] = field(default_factory=list)
    steps: list[Entry] = field(default_factory=list)

    def ops(self) -> dict[str, dict[Case, Measured]]:
        """Op to case to backend to entry, for the benchmarks of single ops."""
        found: dict[str, dict[Case, Measured]] = {}
        for entry in self.entries:
            parameters = entry["params"] or {}
            if not {*PARAMETERS, "backend"} <= set(parameters):
                continue
            case = Case(*(parameters[name] for name in PARAMETERS))
            by_case = found.setdefault(entry["group"], {})
            by_case.setdefault(case, {})[parameters["backend"]] = entry
        return found

    def of_group(self, group: str) -> list[Entry]:
        """The benchmarks of a group."""
        return [entry for entry in self.entries if entry["group"] == group]

    def claims(self) -> list[Claim]:
        """Every promise that was measured."""
        found = (entry["extra_info"].get("claims", []) for entry in self.entries)
        return [Claim(**claim) for claims in found for claim in claims]


def load(folder: Path) -> Machine:
    """All records of a machine's folder.

    Raises:
        ValueError: a file is not a record of these benchmarks.
    """
    machine = Machine(folder.name)
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        about = record.get("machine_info", {}) if isinstance(record, dict) else {}
        if not {"device", "kind", "torch"} <= set(about):
            raise ValueError(f"{path} is not a record of these benchmarks")
        machine.device, machine.kind, machine.torch = (
            about["device"],
            about["kind"],
            about["torch"],
        )
        commit = (record.get("commit_info") or {}).get("id", "")[:10]
        if commit and commit not in machine.commits:
            machine.commits.append(commit)
        machine.entries += record.get("benchmarks", [])
        machine.launches += record.get("launches", [])
        machine.steps += record.get(SUITE_STEPS, [])
    return machine


def load_all(results: Path) -> list[Machine]:
    """Every machine that has records, by name."""
    folders = sorted(path for path in results.glob("*") if any(path.glob("*.json")))
    return [load(folder) for folder in folders]


def median(entry: Entry) -> float:
    """Seconds of one call."""
    return float(entry["stats"]["median"])


def speed_up(measured: Measured, backend: str) -> float:
    """How many times faster than the reference a backend is; NaN without a reference."""
    if "reference" not in measured or backend not in measured:
        return math.nan
    return median(measured["reference"]) / median(measured[backend])


def ranking(cases: Collection[Measured]) -> list[str]:
    """Backends by the geometric mean of their times; those missing from some case are left out."""
    common = set.intersection(*(set(measured) for measured in cases))

    def log_time(backend: str) -> float:
        return math.fsum(math.log(median(measured[backend])) for measured in cases)

    return sorted(common, key=log_time)


def share(entry: Entry) -> float:
    """Of the copy bandwidth of the run."""
    return float(entry["extra_info"]["share_of_copy_bandwidth"])
