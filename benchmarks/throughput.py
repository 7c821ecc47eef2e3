"""Measures the chart of the README: each acceleration adds a bar; all repeats alternate.

    python -m benchmarks.throughput                          emoji64 at batch 8, about five minutes
    python -m benchmarks.throughput --network adm256 --batch 1

sets an inner step beside the network's own forward and VJP, and deepinv's solvers beside ours where
deepinv is installed. It writes `throughput-<network>-<batch>.json` into the machine's records, and
`docs/images/throughput-<machine>.png` (with the network and batch in its name where they are not
the usual ones). Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytest_benchmark.utils import get_commit_info

from benchmarks.beside import peers_or_why_not, step_over_network
from benchmarks.machine import DEVICE, RESULTS, device_name, machine_record, machine_tag
from benchmarks.networks import NETWORKS
from vml_fast.evaluation.figures import write_figure
from vml_fast.evaluation.files import write_json
from vml_fast.evaluation.ladder import KEYS, ladder
from vml_fast.evaluation.profiling import Ratio
from vml_fast.evaluation.throughput import Timings, compare
from vml_fast.evaluation.throughput_figure import three_digits, throughput_figure
from vml_fast.evaluation.workload import make_workload

IMAGES = Path(__file__).parents[1] / "docs" / "images"
USUAL = ("emoji64", 8)


def chart_name(network: str, batch: int) -> str:
    """File name of the chart."""
    special = "" if (network, batch) == USUAL else f"-{network}-{batch}"
    return f"throughput-{machine_tag()}{special}.png"


def footnote(timings: Timings, step: Ratio, rivals: Sequence[dict[str, Any]]) -> str:
    """Warm-up of the last rung, what is missing, and what stands beside the ladder."""
    last = timings.measured[-1]
    name = last.rung.label.removeprefix("+ ")
    sentences = [
        "Each bar adds to the one above",
        f"An inner step is a forward and a VJP of the network; it takes {step.value:.2f} times as "
        "long as these two alone (without torch.compile)",
        f"The first solve, up to {name}, takes {last.warm_up_seconds:.0f} s longer",
    ]
    for rival in rivals:
        sentences.append(
            f"{rival['method']} per step: {three_digits(rival['milliseconds'])} ms by deepinv "
            f"{rival['version']}, {three_digits(rival['milliseconds_here'])} ms here "
            f"({rival['speed_up']:.2f}×)"
        )
    sentences += [f"No {key}: {reason}" for key, reason in timings.left_out.items()]
    return ". ".join(sentences) + "."


def record(
    given: argparse.Namespace,
    timings: Timings,
    step: Ratio,
    rivals: Sequence[dict[str, Any]],
    no_rivals: str | None,
) -> dict[str, Any]:
    """What is kept of the timings."""
    commit = get_commit_info()
    return {
        "machine_info": machine_record(),
        "commit_info": {key: commit.get(key) for key in ("id", "time", "dirty")},
        "ladder": {
            "network": given.network,
            "task": given.task,
            "batch": given.batch,
            "steps": given.steps,
            "inner_steps": given.inner_steps,
            "rows": timings.rows(),
            "left_out": timings.left_out,
            "inner_step": {
                "milliseconds": 1e3 * step.inner_step,
                "milliseconds_of_network": 1e3 * step.bare_pass,
                "ratio": step.value,
            },
            "peers": list(rivals),
            "no_peers": no_rivals,
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the record, draw the chart."""
    parser = argparse.ArgumentParser(description="Measure each acceleration, one at a time.")
    parser.add_argument("--network", choices=NETWORKS, default=USUAL[0])
    parser.add_argument("--batch", type=int, default=USUAL[1])
    parser.add_argument("--task", default="sr4")
    parser.add_argument("--steps", type=int, default=2, help="noise levels: all take the same time")
    parser.add_argument("--inner-steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip", action="append", default=[], choices=KEYS[1:])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of the charts")
    given = parser.parse_args(arguments)
    workload = make_workload(
        NETWORKS[given.network].build(DEVICE),
        given.task,
        batch=given.batch,
        steps=given.steps,
        inner_steps=given.inner_steps,
    )
    chosen = ladder(torch.device(DEVICE), given.skip)
    timings = compare(workload, chosen, repeats=given.repeats, say=lambda t: print(t, flush=True))
    print("an inner step beside its network", flush=True)
    step = step_over_network(workload, given.repeats)
    print("deepinv beside our solvers", flush=True)
    rivals, no_rivals = peers_or_why_not(workload, given.repeats)
    folder = given.results / machine_tag()
    folder.mkdir(parents=True, exist_ok=True)
    given.images.mkdir(parents=True, exist_ok=True)
    path = folder / f"throughput-{given.network}-{given.batch}.json"
    write_json(path, record(given, timings, step, rivals, no_rivals))
    subtitle = (
        f"VML-MAP, task {given.task}, network {given.network}, batch {given.batch}, "
        f"N × K = {given.steps} × {given.inner_steps} steps, torch {torch.__version__}"
    )
    note = footnote(timings, step, rivals)
    figure = throughput_figure(timings.rows(), title=device_name(), subtitle=subtitle, note=note)
    chart = given.images / chart_name(given.network, given.batch)
    write_figure(chart, figure)
    for row in timings.rows():
        print(
            f"{row['label']:18} {row['speed_up']:6.2f}×  "
            f"{row['milliseconds_per_inner_step']:8.2f} ms per inner step  "
            f"warm-up {row['warm_up_seconds']:6.1f} s"
        )
    print(note, path, chart, sep="\n")


if __name__ == "__main__":
    main()
