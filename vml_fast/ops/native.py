"""Loads the compiled libraries, and says why not where they are missing."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent / "native"
HOW = "pip install --no-build-isolation . builds it"


@functools.cache
def build_record() -> dict[str, Any]:
    """What the build wrote down: compiler, torch, CUDA or why not; empty without a build."""
    try:
        record = json.loads((FOLDER / "build.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


@functools.cache
def load_cpu() -> str | None:
    """Load the C++ library and register its ops; None, or the reason why that is impossible."""
    record = build_record()
    if not record:
        return f"the C++ library was not built; {HOW}"
    if not record.get("built"):
        return str(record.get("reason", "the C++ library was not built"))
    return _load(FOLDER / "libvml_fast_cpu.so")


@functools.cache
def load_cuda() -> str | None:
    """Load the CUDA library, which needs no GPU for that; None, or the reason why it does not."""
    reason = load_cpu()
    if reason:
        return reason
    record = build_record()
    if not record.get("cuda"):
        return f"the CUDA library was not built: {record.get('cuda_reason', 'unknown reason')}"
    return _load(FOLDER / "libvml_fast_cuda.so")


def _load(path: Path) -> str | None:
    try:
        torch.ops.load_library(str(path))
    except (OSError, RuntimeError) as error:
        return f"{path.name} does not load: {error}"
    return None
