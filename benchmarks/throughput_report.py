"""The section on whole solves at the sizes of the field, for the page of a machine."""

from __future__ import annotations

from benchmarks.records import Entry, Machine, median
from vml_fast.evaluation.tables import markdown


def throughput_section(machine: Machine) -> str:
    """Each acceleration, the inner step beside its network, peers, and Jacobian products."""
    parts = []
    solves = machine.of_group("throughput")
    if solves:
        header = ("solve", "faster", "ms per step", "of PyTorch", "images/s", "warm-up", "memory")
        parts.append(markdown(header, [_solve(entry) for entry in solves]))
    steps = machine.of_group("inner step over network")
    if steps:
        header = ("inner step", "ms", "network alone, ms", "ratio", "share of measured peak")
        parts.append(markdown(header, [_step(entry) for entry in steps]))
    peers = machine.of_group("peers")
    if peers:
        header = ("deepinv's solver, our network", "ms per step", "ours, ms", "faster")
        parts.append(markdown(header, [_peer(entry) for entry in peers]))
    products = machine.of_group("jacobian")
    if products:
        header = ("inner step by", "ms", "time over vjp", "memory", "of vjp", "images differ by")
        parts.append(markdown(header, [_product(entry) for entry in products]))
    note = "Random weights but for emoji64. Memory: on top of the prior itself.\n"
    return "\n".join(["## Throughput\n", note, *parts]) if parts else ""


def _name(entry: Entry) -> str:
    return f"{entry['params']['network']}, batch {entry['extra_info']['batch']}"


def _solve(entry: Entry) -> tuple[str, ...]:
    info = entry["extra_info"]
    memory = info["extra_bytes"]
    return (
        f"{_name(entry)}: {info['label']}",
        f"{info['speed_up']:.2f}×",
        f"{info['milliseconds_per_inner_step']:.4g}",
        f"{info['baseline_milliseconds_per_inner_step']:.4g}",
        f"{info['images_per_second']:.3g}",
        f"{info['warm_up_seconds']:.1f} s",
        "" if memory is None else f"{memory / 2**20:.0f} MiB",
    )


def _step(entry: Entry) -> tuple[str, ...]:
    info = entry["extra_info"]
    return (
        f"{_name(entry)}, {info['dtype']}",
        f"{info['milliseconds_per_inner_step']:.4g}",
        f"{info['milliseconds_of_network']:.4g}",
        f"{info['ratio']:.3f}",
        f"{info['share_of_measured_peak']:.0%}",
    )


def _product(entry: Entry) -> tuple[str, ...]:
    info = entry["extra_info"]
    mib = (info["extra_bytes"], info["extra_bytes_of_vjp"])
    return (
        f"{entry['params']['product']}, {_name(entry)}",
        f"{info['milliseconds_per_inner_step']:.4g}",
        f"{info['time_over_vjp']:.2f}",
        *("" if value is None else f"{value / 2**20:.0f} MiB" for value in mib),
        f"{info['difference']:.0e}",
    )


def _peer(entry: Entry) -> tuple[str, ...]:
    info = entry["extra_info"]
    ours = 1e3 * median(entry) / info["steps"]
    return (
        f"{entry['params']['method']}, {_name(entry)}",
        f"{info['milliseconds_per_step_of_peer']:.4g}",
        f"{ours:.4g}",
        f"{info['speed_up']:.2f}×",
    )
