"""How calls are timed: over rotating operands, by CUDA events and graphs where there is a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.machine import DEVICE
from vml_fast.evaluation.timing import synchronize

Turn = Callable[[int], Any]
ROUND_SECONDS = 0.02
CASE_SECONDS = 0.3
SWEEP_SECONDS = 0.25
MOST_SETS = 500
FEWEST_ROUNDS, MOST_ROUNDS = 3, 40


class CudaClock:
    """Device time from CUDA events: a reading waits for the work queued before it."""

    def __init__(self) -> None:
        self.last: torch.cuda.Event | None = None
        self.seconds = 0.0

    def read(self) -> float:
        """Seconds of device time since the first reading."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        event.synchronize()
        if self.last is not None:
            self.seconds += self.last.elapsed_time(event) / 1e3
        self.last = event
        return self.seconds


_cuda_clock = CudaClock()


def clock() -> float:
    """Seconds, on the device that does the work."""
    return _cuda_clock.read() if DEVICE == "cuda" else time.perf_counter()


def seconds_of(call: Callable[[], Any], calls: int = 1) -> float:
    """Mean time of a call, over `calls` in a row, by the clock that pytest-benchmark reads here."""
    start = clock()
    for _ in range(calls):
        call()
    return (clock() - start) / calls


class Rotation:
    """Calls `turn(0)`, `turn(1)`, ... in a circle, and keeps what each returned until its next one.

    With operands and results that cover more than the last-level cache, no call finds its data in a
    cache. On a GPU one circle is a captured graph, replayed at every `count`-th call: launch gaps
    shrink to those of a captured loop, and the mean time of `count` calls is that of the replay.
    """

    def __init__(self, turn: Turn, count: int) -> None:
        self.turn = turn
        self.count = count
        self.kept: list[Any] = [None] * count
        self.next = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.sweep()
        if DEVICE == "cuda":
            self._capture()

    def __call__(self) -> None:
        """The next turn."""
        i = self.next
        self.next = i + 1 if i + 1 < self.count else 0
        if self.graph is None:
            self.kept[i] = self.turn(i)
        elif i == 0:
            self.graph.replay()

    def sweep(self) -> None:
        """One whole circle."""
        for i in range(self.count):
            self.kept[i] = self.turn(i)

    def _capture(self) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.sweep()
        torch.cuda.current_stream().wait_stream(stream)
        self.kept = [None] * self.count
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.sweep()
        self.graph = graph
        graph.replay()
        synchronize(torch.device(DEVICE))

    def plan(self) -> tuple[int, int]:
        """How many rounds of how many calls fit into the time of one case."""
        calls = self.count if self.graph else max(1, min(self.count, 20))
        seconds = seconds_of(self, calls)
        per_round = max(1, round(ROUND_SECONDS / seconds))
        if self.graph:
            per_round = -(-per_round // self.count) * self.count
            self.next = 0
        rounds = round(CASE_SECONDS / (seconds * per_round))
        return min(max(rounds, FEWEST_ROUNDS), MOST_ROUNDS), per_round


def how_many(covered: int, bytes_per_call: int, seconds_per_call: float) -> int:
    """Sets of operands that cover this much memory; fewer if a circle would take too long.

    Small operands stay in the cache in a solve too, and making millions of them would take longer
    than timing.
    """
    wanted = min(-(-covered // max(bytes_per_call, 1)), MOST_SETS)
    return max(2, min(wanted, int(SWEEP_SECONDS / max(seconds_per_call, 1e-6))))
