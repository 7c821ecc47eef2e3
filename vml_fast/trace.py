"""Named ranges for Nsight Systems: the NVTX domain `vml_fast`, nothing where nvtx is missing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

try:
    import nvtx
except ImportError:  # a profiler's marker must never stop a restoration
    nvtx = None

DOMAIN = "vml_fast"
RANGES = ("solve", "level", "inner step", "denoiser", "vjp", "bracket", "update", "transition")


def range(name: str) -> AbstractContextManager[object]:
    """A context manager that marks `name` (one of `RANGES`) on the profiler's time line."""
    if nvtx is None:
        return nullcontext()
    return nvtx.annotate(name, domain=DOMAIN)
