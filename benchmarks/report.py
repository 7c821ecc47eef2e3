"""Turns the records into pages: promises, tables and pictures, one page per machine.

    python -m benchmarks.report

reads `benchmarks/results/<machine>/*.json` and writes `docs/benchmarks/`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.charts import LAYOUTS, NAMES, charted_cases, label, op_chart
from benchmarks.fastest import rules
from benchmarks.machine import RESULTS
from benchmarks.records import Entry, Machine, load_all, median, share, speed_up
from benchmarks.throughput_report import throughput_section
from vml_fast.evaluation.files import write_whole
from vml_fast.evaluation.tables import markdown

PAGES = Path(__file__).parents[1] / "docs" / "benchmarks"

INTRODUCTION = """\
# Benchmarks

Every op, the inner step and whole solves, measured on machines that are named. Ratios compare two
versions in the same run; absolute times mean something only together with the machine's name.

```
python -m benchmarks.run        # on an idle machine: times everything
python -m benchmarks.report     # these pages
python -m benchmarks.fastest    # the table by which backend="auto" chooses
benchmarks/gpu_suite.sh         # all of it and the tests on a machine with a GPU
```

How it is measured: an op must agree with its plain-PyTorch reference on the very operands of the
timing before it is timed. Calls rotate through operands and results that cover twice the last-level
cache, all random. *Share of the copy bandwidth*: the fewest bytes that a call can read and write,
per second, over those of a plain copy in the same run. On a GPU the calls are a captured graph,
timed by CUDA events. All times are medians.
"""


def duration(seconds: float) -> str:
    """Three significant digits in a handy unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{_digits(seconds * factor)} {unit}"
    return f"{_digits(seconds * 1e6)} µs"


def _digits(value: float) -> str:
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def claims_section(machine: Machine) -> str:
    """The promises and how they turned out."""
    rows = [
        (claim.text, f"{claim.value:.2f}", f"{claim.bound} {claim.wanted:.2f}", _yes(claim.met))
        for claim in machine.claims()
    ]
    return "## Promises\n\n" + markdown(("what", "measured", "wanted", "met"), rows) if rows else ""


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


def inner_step_section(machine: Machine) -> str:
    """Bracket and update per operator family."""
    rows = []
    for entry in machine.of_group("inner step"):
        info = entry["extra_info"]
        rows.append(
            (
                f"{entry['params']['family']}, {info['size']}²",
                duration(median(entry)),
                duration(info["baseline_seconds"]),
                f"{info['speed_up']:.1f}×",
                f"{info['share_of_copy_bandwidth']:.0%}",
            )
        )
    header = ("bracket + update", "fused", "plain PyTorch", "faster", "of copy bandwidth")
    note = "Batch 8, float32; the network itself is left out.\n\n"
    return "## Inner step\n\n" + note + markdown(header, rows) if rows else ""


def launches_section(machine: Machine) -> str:
    """What one inner step launches besides the network."""
    backends = list(dict.fromkeys(row["backend"] for row in machine.launches))
    counts: dict[tuple[str, float], dict[str, int]] = {}
    for row in machine.launches:
        key = (row["task"], row["noise_std"])
        counts.setdefault(key, {})[row["backend"]] = row["launches"]
    rows = [
        (task if noise_std == 0 else f"{task}, noisy", *(str(row.get(b, "")) for b in backends))
        for (task, noise_std), row in counts.items()
    ]
    note = "Launches of one inner step besides those of the network, from a profiler trace.\n\n"
    header = ("task", *(NAMES[name] for name in backends))
    return "## Launches\n\n" + note + markdown(header, rows) if rows else ""


def ops_section(machine: Machine, pictures: Sequence[tuple[str, str]]) -> str:
    """Every op on every case, and the pictures of the largest ones."""
    if not machine.ops():
        return ""
    parts = ["## Ops\n", *(f"![{text}]({name})\n" for name, text in pictures)]
    for op, by_case in machine.ops().items():
        rows = []
        for case, measured in by_case.items():
            for backend, entry in measured.items():
                faster = "" if backend == "reference" else f"{speed_up(measured, backend):.1f}×"
                cells = (duration(median(entry)), faster, f"{share(entry):.0%}", _rate(entry))
                rows.append((f"{label(case)}: {NAMES[backend]}", *cells))
        header = (op, "time", "faster", "of copy bandwidth", "GFLOP/s")
        parts.append(f"### {op}\n\n" + markdown(header, rows))
    return "\n".join(parts)


def fastest_section(machine: Machine) -> str:
    """The backends of every op, fastest first, as `benchmarks.fastest` writes them down."""
    rows = []
    for op, by_case in machine.ops().items():
        for rule in rules(list(by_case.values())):
            names = ", ".join(NAMES[name] for name in rule["order"])
            rows.append((f"{op}{_condition(rule)}", names))
    note = "By the geometric mean of the times over all cases; other rules come first.\n\n"
    return "## Fastest backend\n\n" + note + markdown(("op", "fastest first"), rows) if rows else ""


def _condition(rule: dict[str, Any]) -> str:
    if "dtype" not in rule:
        return ""
    most = "" if rule["elements"] is None else f", up to {rule['elements']} elements"
    return f": {rule['dtype']}, {LAYOUTS[rule['memory_format']]}{most}"


def _rate(entry: Entry) -> str:
    rate = entry["extra_info"].get("gigaflops_per_second")
    return "" if rate is None else f"{rate:.0f}"


def solves_section(machine: Machine) -> str:
    """Whole solves against the reference method."""
    rows = []
    for entry in machine.of_group("solve"):
        info, parameters = entry["extra_info"], entry["params"]
        rows.append(
            (
                f"{parameters['task']}, batch {info['batch']}, {info['steps']} × "
                f"{info['inner_steps']} steps, backend {parameters['backend']}",
                duration(median(entry)),
                duration(info["baseline_seconds"]),
                f"{info['speed_up']:.2f}×",
                f"{info['milliseconds_per_inner_step']:.1f} ms",
            )
        )
    header = ("solve", "VMLMAP", "vf.reference", "faster", "per inner step")
    return "## Whole solves, emoji64 in float32\n\n" + markdown(header, rows) if rows else ""


def suite_section(machine: Machine) -> str:
    """Builds, tests and checks of the GPU suite."""
    rows = []
    for step in machine.steps:
        tests = step.get("tests", {})
        counts = ", ".join(f"{count} {name}" for name, count in tests.items() if count)
        rows.append((step["step"], _yes(step["status"] == 0), f"{step['seconds']:.0f} s", counts))
    header = ("step", "passed", "time", "tests")
    return "## Builds, tests and checks\n\n" + markdown(header, rows) if rows else ""


def write_page(machine: Machine, folder: Path) -> None:
    """The page of one machine, with its pictures."""
    pictures = []
    for case in charted_cases(machine):
        name = f"{machine.tag}-{case.dtype}-{case.memory_format}.png"
        if op_chart(machine, case, folder / name):
            pictures.append((name, label(case)))
    sections = (
        f"# {machine.device}\n\ntorch {machine.torch}, commit {', '.join(machine.commits)}\n",
        claims_section(machine),
        inner_step_section(machine),
        launches_section(machine),
        solves_section(machine),
        throughput_section(machine),
        suite_section(machine),
        fastest_section(machine),
        ops_section(machine, pictures),
    )
    text = "\n".join(section for section in sections if section)
    write_whole(folder / f"{machine.tag}.md", lambda file: file.write(text.encode()))


def write_index(machines: Sequence[Machine], folder: Path) -> None:
    """The page that names the machines."""
    rows = []
    for machine in machines:
        claims = machine.claims()
        met = f"{sum(claim.met for claim in claims)} of {len(claims)}"
        rows.append((f"[{machine.device}]({machine.tag}.md)", machine.torch, met))
    text = INTRODUCTION + "\n" + markdown(("machine", "torch", "promises met"), rows)
    if not any(machine.kind == "cuda" for machine in machines):
        text += "\nGPU: not measured yet.\n"
    write_whole(folder / "README.md", lambda file: file.write(text.encode()))


def main(arguments: list[str] | None = None) -> None:
    """Write all pages."""
    parser = argparse.ArgumentParser(description="Turn the records into pages.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    parser.add_argument("--pages", type=Path, default=PAGES, help="folder of the pages")
    given = parser.parse_args(arguments)
    machines = load_all(given.results)
    given.pages.mkdir(parents=True, exist_ok=True)
    for machine in machines:
        write_page(machine, given.pages)
    write_index(machines, given.pages)
    print(f"{given.pages}: {len(machines)} machines")


if __name__ == "__main__":
    main()
