"""Arrays of torch, NumPy and CuPy: read as tensors and handed back in kind, copied only at need.

Memory is shared through DLPack (NumPy: its own bridge to torch). A copy is made of NumPy arrays
that are read-only, have strides that torch has not (negative, or between elements) or a foreign
byte order, of nested sequences, and wherever a dtype has to change.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from vml_fast.errors import InputError

Array: TypeAlias = Any
"""A torch tensor, or an array of NumPy or CuPy."""

REAL_NUMBERS = "a torch, NumPy or CuPy array of real numbers"
_HOST = 1  # DLPack's kDLCPU

Method = TypeVar("Method", bound=Callable[..., Any])


def is_array(value: Any) -> bool:
    """Whether `value` is a torch tensor, or an array of NumPy or CuPy."""
    return isinstance(value, Tensor | np.ndarray) or _is_cupy(value)


def as_tensor(value: Any, name: str, allowed: str = REAL_NUMBERS) -> Tensor:
    """Return a tensor that shares memory with `value` wherever it can.

    Args:
        value: a torch tensor, a NumPy array, any array with DLPack (CuPy, JAX), or nested
            sequences of numbers (these are copied; reals become float64).
        name: the argument's name, for the error.
        allowed: what the argument may be, for the error.

    Returns:
        A tensor on the array's own device, without a gradient. Shared memory is never written to.

    Raises:
        InputError: `value` holds something else than real numbers, or lies on a GPU that torch
            cannot use.
    """
    try:
        tensor = _shared(value, name)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name} is a {type(value).__name__} that cannot be read as numbers; allowed: {allowed}"
        ) from error
    if tensor.layout is not torch.strided:
        raise InputError(f"{name} is sparse; allowed: dense arrays")
    if tensor.is_complex():
        raise InputError(f"{name} has dtype {tensor.dtype}; allowed: real numbers")
    return tensor


def as_floating(value: Any, name: str, allowed: str = REAL_NUMBERS) -> Tensor:
    """Like `as_tensor`; integers, booleans and half precision become float64 (a copy)."""
    tensor = as_tensor(value, name, allowed)
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.double()


def back_to(like: Array) -> Callable[[Tensor], Array]:
    """The function that hands a tensor back as an array of the kind of `like`, without a copy.

    A tensor on a GPU becomes a NumPy array by a copy to the host.
    """
    if isinstance(like, np.ndarray):
        return lambda tensor: tensor.numpy(force=True)
    if _is_cupy(like):
        return lambda tensor: sys.modules["cupy"].from_dlpack(tensor.detach())
    return lambda tensor: tensor


def keeps_array_kind(method: Method) -> Method:
    """Let a method of tensors take NumPy and CuPy arrays too, and return the first one's kind."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wrapper(self: Any, *values: Any, **named: Any) -> Any:
        if all(isinstance(value, Tensor) for value in (*values, *named.values())):
            return method(self, *values, **named)
        _, *given = signature.bind(self, *values, **named).arguments.items()
        # What is no array at all goes on as it is, for the method to name in its error.
        tensors = {n: as_tensor(v, n) if _is_foreign(v) else v for n, v in given}
        return back_to(given[0][1])(method(self, **tensors))

    return cast(Method, wrapper)


def _is_foreign(value: Any) -> bool:
    return is_array(value) and not isinstance(value, Tensor)


def _is_cupy(value: Any) -> bool:
    # Whoever holds a CuPy array has imported CuPy: it is never imported here.
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(value, cupy.ndarray)


def _shared(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray):
        return _from_numpy(value)
    if hasattr(value, "__dlpack__"):
        _check_reachable(value, name)
        return torch.from_dlpack(value)
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError  # text that spells a number, None (which NumPy would read as NaN), ...
    return torch.from_numpy(array.astype(np.float64) if array.dtype.kind == "f" else array)


def _from_numpy(array: np.ndarray) -> Tensor:
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError  # its mask would be lost
    foreign = any(stride < 0 or stride % array.itemsize for stride in array.strides)
    if foreign or not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _check_reachable(array: Any, name: str) -> None:
    device = int(array.__dlpack_device__()[0])
    if device != _HOST and not torch.cuda.is_available():
        raise InputError(
            f"{name} lies on a GPU (DLPack device type {device}), which torch {torch.__version__} "
            f"cannot use here; allowed: arrays in the host's memory"
        )
