"""Records a step of the GPU suite that is no benchmark: whether it passed, its time, its tests.

python -m benchmarks.suite_step test-ops 0 41.5 --junit build/gpu_suite/test-ops.xml
"""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks.machine import RESULTS, machine_record, machine_tag
from benchmarks.records import SUITE_STEPS
from vml_fast.evaluation.files import write_json


def test_counts(junit: Path | None) -> dict[str, int]:
    """How many tests passed, failed and were skipped; empty where pytest left no report."""
    if junit is None or not junit.exists():
        return {}
    suites = list(ElementTree.parse(junit).getroot().iter("testsuite"))
    total, failed, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites)
        for name in ("tests", "failures", "errors", "skipped")
    )
    failed += errors
    return {"passed": total - failed - skipped, "failed": failed, "skipped": skipped}


def main(arguments: list[str] | None = None) -> None:
    """Write `suite-<step>.json` into the records of this machine."""
    parser = argparse.ArgumentParser(description="Record a step of the GPU suite.")
    parser.add_argument("step")
    parser.add_argument("status", type=int, help="exit status of its command")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--junit", type=Path, help="pytest's report, if the step ran tests")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    given = parser.parse_args(arguments)
    step = {"step": given.step, "status": given.status, "seconds": given.seconds}
    step["tests"] = test_counts(given.junit)
    folder = given.results / machine_tag()
    folder.mkdir(parents=True, exist_ok=True)
    record = {"machine_info": machine_record(), SUITE_STEPS: [step]}
    write_json(folder / f"suite-{given.step}.json", record)


if __name__ == "__main__":
    main()
