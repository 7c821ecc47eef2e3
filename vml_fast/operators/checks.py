"""Checks of what users pass to an operator: one clear sentence each, and cheap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

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


def positive_int(name: str, value: Any) -> int:
    """Return `value` as an integer of at least 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < 1:
        raise InputError(f"{name} is {value!r}; allowed: a positive integer")
    return int(value)


def number(
    name: str,
    value: Any,
    low: float,
    high: float,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """Return `value` as a finite float in [low, high], without the ends that are open."""
    high_open = high_open or math.isinf(high)
    left, right = "(" if low_open else "[", ")" if high_open else "]"
    if (
        not isinstance(value, Real)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not low <= float(value) <= high
        or (low_open and float(value) == low)
        or (high_open and float(value) == high)
    ):
        raise InputError(
            f"{name} is {value!r}; allowed: a number in {left}{low:g}, {high:g}{right}"
        )
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Return `value`, which must be True or False: a word would count as True."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; allowed: True or False")
    return value


def tolerance(value: Any) -> float:
    """Return `value` as rtol, a float in [0, 1)."""
    if not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise InputError(f"rtol is {value!r}; allowed: a number in [0, 1)")
    return float(value)


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
