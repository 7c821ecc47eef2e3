"""Named ranges of a solve: for Nsight (NVTX domain `vml_fast`), torch.profiler, or a stopwatch.

A range costs about a microsecond while nobody looks: nothing is sent to NVTX without a tool that
was attached when the process started, and nothing to `torch.profiler` outside a profile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any, Protocol

import torch
from torch.profiler import record_function

try:
    import nvtx
except ImportError:  # a profiler's marker must never stop a restoration
    nvtx = None

DOMAIN = "vml_fast"
RANGES = ("solve", "level", "inner step", "denoiser", "vjp", "bracket", "update", "transition")
"""solve holds levels, a level inner steps, one forward ("denoiser") and a transition."""


class Watch(Protocol):
    """Told when a range of its thread begins and ends; ranges nest."""

    def enter(self, name: str) -> None:
        """The range `name` begins."""

    def exit(self) -> None:
        """The range that began last ends."""


_watch: ContextVar[Watch | None] = ContextVar("vml_fast_watch", default=None)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Tell `watch` of every range of this thread within the `with` block."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def range(name: str) -> AbstractContextManager[object]:
    """A context manager that marks `name` (one of `RANGES`) on the profiler's time line.

    In code that torch.compile traces it does nothing: a marker there would split the graph.
    """
    if torch.compiler.is_compiling():
        return nullcontext()
    return _Range(name)


class _Range:
    """One range, entered once."""

    __slots__ = ("mark", "name", "record", "watch")

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.mark = _nvtx_range(self.name)
        self.mark.__enter__()
        # the record is the innermost, so that the trace of torch.profiler costs the watch nothing
        self.watch = _watch.get()
        if self.watch is not None:
            self.watch.enter(self.name)
        self.record = record_function(self.name) if torch.autograd._profiler_enabled() else None
        if self.record is not None:
            self.record.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self.record is not None:
            self.record.__exit__(*error)
        if self.watch is not None:
            self.watch.exit()
        self.mark.__exit__(*error)


@cache
def _nvtx_range(name: str) -> AbstractContextManager[object]:
    """The NVTX range of a name, made once: it holds no state and can be entered again."""
    if nvtx is None:
        return nullcontext()
    return nvtx.annotate(name, domain=DOMAIN)
