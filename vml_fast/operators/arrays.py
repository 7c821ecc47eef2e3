"""Arrays of other libraries as tensors, without copies where the memory allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vml_fast.errors import InputError


def as_tensor(value: Any, name: str) -> Tensor:
    """Return a tensor that shares memory with `value` wherever it can.

    Args:
        value: a torch tensor, a NumPy array, any array with DLPack (CuPy, JAX), or nested
            sequences of numbers (these are copied).
        name: the argument's name, for the error.

    Returns:
        A tensor on the array's own device. Shared memory is never written to. A NumPy array is
        copied when it is read-only, has negative strides or a foreign byte order.

    Raises:
        InputError: `value` is not an array of real numbers.
    """
    try:
        tensor = _share(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise InputError(
            f"{name} is a {type(value).__name__} that cannot be read as numbers; allowed: a torch, "
            f"NumPy or CuPy array of real numbers"
        ) from error
    if tensor.is_complex():
        raise InputError(f"{name} has dtype {tensor.dtype}; allowed: real numbers")
    return tensor


def as_floating(value: Any, name: str) -> Tensor:
    """Like `as_tensor`; integers, booleans and half precision become float64 (a copy)."""
    tensor = as_tensor(value, name)
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.double()


def _share(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray):
        native = value.dtype.newbyteorder("=")
        if not value.flags.writeable or any(stride < 0 for stride in value.strides):
            value = value.copy()
        return torch.from_numpy(value.astype(native, copy=False))
    if hasattr(value, "__dlpack__"):
        return torch.from_dlpack(value)
    if value is None:
        raise TypeError  # NumPy would read it as NaN
    return torch.from_numpy(np.asarray(value, dtype=np.float64))
