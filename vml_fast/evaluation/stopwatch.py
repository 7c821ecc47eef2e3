"""How long each named range of a solve takes: by the clock on a CPU, by events on a GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

PARTS = ("denoiser", "vjp", "bracket", "update", "transition")
"""The ranges that do the work; the others hold them."""
WHOLE, REST = "inner step, in one piece", "rest"


@dataclass
class Span:
    """One range that was run.

    Attributes:
        name: of the range.
        start: reading at its beginning.
        end: reading at its end.
        children: the ranges directly inside.
    """

    name: str
    start: Any
    end: Any = None
    children: list[Span] = field(default_factory=list)


class Part(NamedTuple):
    """A row of the table of shares.

    Attributes:
        name: a range of `PARTS`, `WHOLE` (inner steps without ranges inside) or `REST`.
        calls: how often it ran.
        seconds: in all, without the ranges inside it.
        share: of the time of all.
    """

    name: str
    calls: int
    seconds: float
    share: float


class Stopwatch:
    """Times the ranges of `vml_fast.trace` as one of its watches.

    On a GPU a reading is a CUDA event on the current stream: the time between two readings is the
    device's, gaps included, whichever thread launched the kernels, and nothing waits.

    Args:
        device: where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.roots: list[Span] = []
        self._open: list[Span] = []

    def enter(self, name: str) -> None:
        """A range begins."""
        span = Span(name, self._read())
        (self._open[-1].children if self._open else self.roots).append(span)
        self._open.append(span)

    def exit(self) -> None:
        """The range that began last ends."""
        self._open.pop().end = self._read()

    def _read(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, span: Span) -> float:
        """Of one range, with those inside; waits for the GPU."""
        if self.device.type != "cuda":
            return span.end - span.start
        span.end.synchronize()
        return span.start.elapsed_time(span.end) / 1e3

    def durations(self, name: str) -> list[float]:
        """Seconds of every range of a name, in order."""
        return [self.seconds(span) for span in flattened(self.roots) if span.name == name]

    def median(self, name: str) -> float:
        """Seconds of a typical range of a name.

        Raises:
            ValueError: there was none.
        """
        found = self.durations(name)
        if not found:
            raise ValueError(f"no range {name!r} was run")
        return statistics.median(found)

    def parts(self) -> list[Part]:
        """Where the time went, in the order of `PARTS`; the seconds add up to the whole."""
        found: dict[str, list[float]] = {name: [] for name in (*PARTS, WHOLE, REST)}
        for span in flattened(self.roots):
            own = self.seconds(span) - sum(self.seconds(child) for child in span.children)
            found[_part(span)].append(own)
        total = sum(self.seconds(span) for span in self.roots)
        rows = {name: (len(own), sum(own)) for name, own in found.items()}
        rows[REST] = (0, rows[REST][1])
        return [
            Part(name, calls, seconds, seconds / total if total else 0.0)
            for name, (calls, seconds) in rows.items()
            if calls or name == REST
        ]


def flattened(spans: Sequence[Span]) -> list[Span]:
    """The ranges and all those inside them."""
    return [found for span in spans for found in (span, *flattened(span.children))]


def _part(span: Span) -> str:
    if span.name in PARTS:
        return span.name
    # a captured step is replayed as one piece: no range inside it is seen
    return WHOLE if span.name == "inner step" and not span.children else REST
