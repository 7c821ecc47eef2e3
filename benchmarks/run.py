"""Times everything on this machine and writes one record per group.

    python -m benchmarks.run                      every group, the ops first
    python -m benchmarks.run brackets --full      one group, on the whole grid of cases

Records go to `benchmarks/results/<machine>/<group>.json`; `python -m benchmarks.report` makes
tables and pictures of them. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import RESULTS, machine_tag

HERE = Path(__file__).parent
ROOT = HERE.parent
LAUNCHES = "launches"
FIRST = ("brackets", "kernels", "inner_step", LAUNCHES)
"""What the table of the fastest backends and the promises need: kept if the rest is broken off."""
BY_CASE = "group,param:size,param:batch,param:dtype,param:memory_format"


def groups() -> dict[str, list[Path]]:
    """Groups of benchmark files: the brackets, the other ops, and each further file on its own."""
    ops = ROOT / "vml_fast" / "ops"
    found: dict[str, list[Path]] = {"brackets": [], "kernels": []}
    for path in sorted(HERE.glob("test_*.py")):
        name = path.stem.removeprefix("test_")
        if not (ops / f"{name}.py").exists():
            found[name] = [path]
        else:
            found["brackets" if name.endswith("_bracket") else "kernels"].append(path)
    return found


def command(group: str, folder: Path, options: list[str]) -> list[str]:
    """The command line that times a group into `folder`."""
    if group == LAUNCHES:
        return [sys.executable, "-m", "benchmarks.launches", "--results", str(folder.parent)]
    by_case = [f"--benchmark-group-by={BY_CASE}"] if group in ("brackets", "kernels") else []
    return [
        *(sys.executable, "-m", "pytest", "-q"),
        *map(str, groups()[group]),
        *("--benchmark-enable", "--benchmark-only"),
        *("--benchmark-columns=median,iqr,rounds", "--benchmark-sort=name"),
        *by_case,
        f"--benchmark-json={folder / group}.json",
        *options,
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the groups one after another; the exit status of the first that failed, or 0."""
    names = list(dict.fromkeys((*FIRST, *groups())))
    parser = argparse.ArgumentParser(description="Time everything on this machine.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(names)}")
    parser.add_argument("--full", action="store_true", help="the whole grid of cases")
    parser.add_argument("--tiny", action="store_true", help="tiny cases, to try the benchmarks")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    given = parser.parse_args(arguments)
    unknown = set(given.groups) - set(names)
    if unknown:
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    folder = given.results.resolve() / machine_tag()
    folder.mkdir(parents=True, exist_ok=True)
    options = [f"--{name}" for name in ("full", "tiny") if getattr(given, name)]
    status = 0
    for group in given.groups or names:
        print(f"\n{group} → {folder / group}.json", flush=True)
        start = time.monotonic()
        status = subprocess.run(command(group, folder, options), cwd=ROOT).returncode or status
        print(f"{group}: {time.monotonic() - start:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
