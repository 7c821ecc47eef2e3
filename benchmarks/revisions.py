"""Times solves of an earlier commit and of the working tree in turn, on this machine's CPU.

    python -m benchmarks.revisions COMMIT

A process for each, one core, rounds alternating, so that a slow minute meets both. The record,
`benchmarks/results/<machine>/revisions.json`, has the ratio of every case, and how far apart the
results are. The compiled operations are those of the working tree: `csrc` must be the same in both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, machine_record, machine_tag
from benchmarks.run import ROOT
from vml_fast.evaluation.files import write_json
from vml_fast.evaluation.throughput import paired_ratio

WORKER = Path(__file__).with_name("revision_worker.py")
NATIVE = Path("vml_fast", "ops", "native")


class Revision:
    """The worker process of a source tree."""

    def __init__(self, tree: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
            cwd=tree,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cases: list[str] = self._answer()

    def round(self, case: str) -> tuple[float, list[float]]:
        """Seconds of a solve, and some pixels of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        seconds, pixels = self._answer()
        return seconds, pixels

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended; its message stands above")
        return json.loads(line)


def git(*words: str) -> str:
    """What git says about the repository."""
    found = subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return found.stdout.strip()


def unpack(commit: str, folder: Path) -> None:
    """The package of a commit, with the compiled operations of the working tree."""
    if git("diff", "--name-only", commit, "--", "csrc"):
        raise SystemExit(
            f"csrc of {commit} is not that of the working tree: build and compare both"
        )
    archive = folder / "tree.tar"
    git("archive", "--output", str(archive), commit, "vml_fast", "kernels")
    shutil.unpack_archive(archive, folder, filter="data")
    shutil.copytree(ROOT / NATIVE, folder / NATIVE, dirs_exist_ok=True)


def compare(before: Revision, after: Revision, rounds: int) -> list[dict[str, Any]]:
    """A row per case: medians, the ratio of rounds in turn, the largest difference."""
    rows = []
    for case in after.cases:
        sides = (before, after)
        warm = [side.round(case)[1] for side in sides]
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for times, side in zip(seconds, sides, strict=True):
                times.append(side.round(case)[0])
        rows.append(
            {
                "case": case,
                "before_seconds": statistics.median(seconds[0]),
                "after_seconds": statistics.median(seconds[1]),
                "speed_up": paired_ratio(*seconds),
                "difference": max(abs(a - b) for a, b in zip(*warm, strict=True)),
            }
        )
        print("{case}: speed-up {speed_up:.3f}, differs by {difference:.1e}".format(**rows[-1]))
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Compare, print and record."""
    parser = argparse.ArgumentParser(description="Time a commit and the working tree in turn.")
    parser.add_argument("commit", help="the earlier one")
    parser.add_argument("--rounds", type=int, default=9, help="of each case")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        unpack(given.commit, Path(folder))
        sides = [Revision(Path(folder)), Revision(ROOT)]
        try:
            rows = compare(*sides, given.rounds)
        finally:
            for side in sides:
                side.close()
    record = {
        "machine_info": machine_record(),
        "before": git("rev-parse", given.commit),
        "after": git("rev-parse", "HEAD"),
        "rounds": given.rounds,
        "revisions": rows,
    }
    path = given.results / machine_tag() / "revisions.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    print(path)


if __name__ == "__main__":
    main()
