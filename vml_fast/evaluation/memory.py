"""The most memory that a piece of work takes: of the GPU's allocator, or of the process."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PEAK, PRESENT = "VmHWM", "VmRSS"


def in_use(device: torch.device) -> int | None:
    """Bytes that are held now, after giving back what nobody uses; None where no one tells."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved(device)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return _process_bytes(PRESENT)


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int | None:
    """The most memory that is held while `work` runs, what was held before included.

    On a GPU it is the allocator's reserved memory, pools of captured graphs included: what
    nvidia-smi shows, without the CUDA context. On a CPU it is the resident set of the process.

    Args:
        work: called once.
        device: where it runs.

    Returns:
        Bytes; None where the system does not tell.
    """
    if in_use(device) is None:
        work()
        return None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_reserved(device)
    could_reset = _reset_process_peak()
    work()
    return _process_bytes(PEAK) if could_reset else None


def _reset_process_peak() -> bool:
    """Let the kernel forget the largest resident set so far (proc(5), clear_refs)."""
    try:
        RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _process_bytes(field: str) -> int | None:
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith(field + ":")]
    return int(found[0][1]) * 1024 if found else None
