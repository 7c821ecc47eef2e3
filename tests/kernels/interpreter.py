"""Pytest plugin: makes Triton's interpreter do what a GPU does, where it does not.

It cuts the lower bits off float32 -> bfloat16 instead of rounding to the nearest, so no tolerance
could tell a right kernel from a wrong one. And up to Triton 3.6 a loop whose bound is an argument
of the kernel fails with NumPy >= 2.4, which no longer makes an integer of an array of one number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter

_convert = interpreter._convert_float
_patch = interpreter._patch_lang_tensor


def _rounded(values: np.ndarray, source: Any, target: Any, mode: Any) -> np.ndarray:
    if source == tl.float32 and target == tl.bfloat16:
        flat = torch.from_numpy(np.array(values, dtype=np.float32))
        return flat.bfloat16().view(torch.uint16).numpy()
    return _convert(values, source, target, mode)


def _with_index(tensor: Any, *scope: Any) -> None:
    _patch(tensor, *scope)
    tensor.__index__ = lambda self: int(self.handle.data.item())


interpreter._convert_float = _rounded
interpreter._patch_lang_tensor = _with_index
