"""Checks of what users pass to an operator: one clear sentence each, and cheap."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from vml_fast.checks import check_number
from vml_fast.errors import InputError

STATE_DTYPES = (torch.float32, torch.float64)


def image_shape(value: Any) -> tuple[int, int, int]:
    """Return `value` as (channels, height, width)."""
    if (
        not isinstance(value, Sequence)
        or len(value) != 3
        or not all(isinstance(size, Integral) and int(size) > 0 for size in value)
    ):
        raise InputError(
            f"image_shape is {value!r}; allowed: three positive integers (channels, height, width)"
        )
    return int(value[0]), int(value[1]), int(value[2])


def tolerance(value: Any) -> float:
    """Return `value` as rtol, a float in [0, 1)."""
    return check_number("rtol", value, 0, 1, high_open=True)


def finite(name: str, tensor: Tensor) -> Tensor:
    """Return `tensor`, all of whose entries must be finite and not all zero."""
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{name} contains NaN or infinity; allowed: finite numbers")
    if tensor.numel() == 0 or not bool(tensor.any()):
        raise InputError(f"{name} has no non-zero entry; allowed: at least one")
    return tensor


def batch(name: str, tensor: Any, shape: tuple[int, ...], owner: str) -> None:
    """Check that `tensor` is a float32 or float64 batch of `shape`."""
    if not isinstance(tensor, Tensor):
        raise InputError(
            f"{name} is a {type(tensor).__name__}; allowed: a torch, NumPy or CuPy array"
        )
    if tensor.ndim != len(shape) + 1 or tuple(tensor.shape[1:]) != shape:
        wanted = ", ".join(["B", *map(str, shape)])
        raise InputError(f"{name} has shape {tuple(tensor.shape)}; {owner} takes ({wanted})")
    if tensor.dtype not in STATE_DTYPES:
        raise InputError(f"{name} has dtype {tensor.dtype}; allowed: torch.float32, torch.float64")
