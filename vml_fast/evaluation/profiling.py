"""Where the time of a solve goes: shares of its named ranges, its top kernels, its time line."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from vml_fast import trace
from vml_fast.evaluation.stopwatch import Part, Stopwatch
from vml_fast.evaluation.timing import seconds_of, synchronize

INNER_STEP, BARE = "inner step", "bare pass"
ROUNDS = 3
"""Of whole solves and as many bare passes, in turn, for their ratio."""

Call = Callable[[], Any]


class Kernel(NamedTuple):
    """A row of the table of kernels.

    Attributes:
        name: of a kernel on a GPU, of an operation on a CPU.
        calls: how often it ran.
        seconds: in all, without others inside it.
        share: of the time of all kernels.
    """

    name: str
    calls: int
    seconds: float
    share: float


@dataclass(frozen=True)
class Ratio:
    """An inner step beside the network's own work, medians of runs in turn.

    Attributes:
        inner_step: seconds of one inner step.
        bare_pass: seconds of the network's forward and VJP alone.
    """

    inner_step: float
    bare_pass: float

    @property
    def value(self) -> float:
        """Inner step over bare pass."""
        return self.inner_step / self.bare_pass


@contextmanager
def capture_range(device: torch.device) -> Iterator[None]:
    """cudaProfilerStart and cudaProfilerStop around a block: what nsys and ncu record.

    On a CPU it does nothing.
    """
    if device.type != "cuda":
        yield
        return
    synchronize(device)
    torch.cuda.profiler.start()
    try:
        yield
        synchronize(device)
    finally:
        torch.cuda.profiler.stop()


def measured_parts(solve: Call, device: torch.device) -> tuple[float, list[Part]]:
    """One solve within the capture range of nsys and ncu.

    Returns:
        Its seconds, and where they went.
    """
    stopwatch = Stopwatch(device)
    with capture_range(device), trace.watched(stopwatch):
        seconds = seconds_of(solve, device)
    return seconds, stopwatch.parts()


def inner_step_ratio(
    solve: Call, bare: Call, device: torch.device, *, rounds: int = ROUNDS
) -> Ratio | None:
    """An inner step over the network's bare forward and VJP.

    Args:
        solve: with inner steps.
        bare: the network's forward and VJP, called as often as a solve has inner steps.
        device: where they run.
        rounds: of both in turn, so that a slow minute of the machine hits both.

    Returns:
        The ratio; None where the solve has no inner steps.
    """
    steps: list[float] = []
    alone: list[float] = []
    bare()
    for _ in range(rounds):
        stopwatch = Stopwatch(device)
        with trace.watched(stopwatch):
            solve()
        steps += stopwatch.durations(INNER_STEP)
        # timed as the steps are: in a row, without waiting for the GPU in between
        for _ in stopwatch.durations(INNER_STEP):
            stopwatch.enter(BARE)
            bare()
            stopwatch.exit()
        alone += stopwatch.durations(BARE)
    return Ratio(statistics.median(steps), statistics.median(alone)) if steps else None


def traced_kernels(solve: Call, device: torch.device, path: Path, *, top: int) -> list[Kernel]:
    """One solve under `torch.profiler`.

    Args:
        solve: what to trace.
        device: where it runs.
        path: of the Chrome trace, which Perfetto opens; replaced.
        top: how many kernels to return.

    Returns:
        The kernels that took most of the time, the longest first.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    synchronize(device)
    with profile(activities=activities) as profiler:
        solve()
        synchronize(device)
    profiler.export_chrome_trace(str(path))
    return _longest(profiler.key_averages(), device, top)


def _longest(averages: Any, device: torch.device, top: int) -> list[Kernel]:
    on_gpu = device.type == "cuda"
    wanted = DeviceType.CUDA if on_gpu else DeviceType.CPU
    rows = [
        (row.key, row.count, row.self_device_time_total if on_gpu else row.self_cpu_time_total)
        for row in averages
        if row.device_type == wanted and not row.is_user_annotation
    ]
    total = sum(microseconds for *_, microseconds in rows) or 1.0
    rows.sort(key=lambda row: -row[2])
    return [
        Kernel(name, calls, microseconds / 1e6, microseconds / total)
        for name, calls, microseconds in rows[:top]
    ]
