"""Pytest plugin for interpreted kernels: float32 -> bfloat16 as a GPU does it.

Triton's interpreter cuts the lower bits off instead of rounding to the nearest, so no tolerance
could tell a right kernel from a wrong one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter

_convert = interpreter._convert_float


def _rounded(values: np.ndarray, source: Any, target: Any, mode: Any) -> np.ndarray:
    if source == tl.float32 and target == tl.bfloat16:
        flat = torch.from_numpy(np.array(values, dtype=np.float32))
        return flat.bfloat16().view(torch.uint16).numpy()
    return _convert(values, source, target, mode)


interpreter._convert_float = _rounded
