"""Argument checks that the launchers share; the same ones as in the compiled ops."""

from __future__ import annotations

import torch
from torch import Tensor

from vml_fast.errors import InputError

NETWORK_DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
BRACKET_COLUMNS = 5
"""c_skip, c_out, alpha, beta, beta_null, as in `vml_fast.ops.coefficients`."""


def check_network(tensor: Tensor, name: str, like: Tensor | None = None) -> None:
    """A tensor of the network: (B, C, H, W), any floating dtype, of the shape of `like`."""
    if tensor.dim() != 4:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}; it must be (B, C, H, W).")
    if tensor.dtype not in NETWORK_DTYPES:
        raise InputError(
            f"{name} is {tensor.dtype}; it must be bfloat16, float16, float32 or float64."
        )
    if like is not None:
        _check_same_shape(tensor, like, name)


def check_state(tensor: Tensor, name: str, like: Tensor | None = None) -> None:
    """A tensor of state or data term: float32, on the device and of the shape of `like`."""
    check_dtype(tensor, name, torch.float32)
    if like is not None:
        _check_same_shape(tensor, like, name)


def check_dtype(tensor: Tensor, name: str, dtype: torch.dtype) -> None:
    """Exactly this dtype."""
    if tensor.dtype != dtype:
        raise InputError(f"{name} is {tensor.dtype}; it must be {dtype}.")


def check_device(tensor: Tensor, name: str, like: Tensor) -> None:
    """On the device of the other tensors."""
    if tensor.device != like.device:
        raise InputError(f"{name} is on {tensor.device}; it must be on {like.device}.")


def check_broadcasts(tensor: Tensor, shape: tuple[int, ...], name: str) -> None:
    """Every size is 1 or that of `shape`."""
    sizes = tuple(tensor.shape)
    fits = len(sizes) == len(shape) and all(
        size in (1, whole) for size, whole in zip(sizes, shape, strict=True)
    )
    if not fits:
        raise InputError(f"{name} has shape {sizes}; every size must be 1 or that of {shape}.")


def check_coefficients(
    coefficients: Tensor, x: Tensor, columns: int = BRACKET_COLUMNS, name: str = "coefficients"
) -> None:
    """One float32 row per sample, or one for all."""
    check_state(coefficients, name)
    check_device(coefficients, name, x)
    sizes = tuple(coefficients.shape)
    if sizes not in ((1, columns), (x.shape[0], columns)):
        raise InputError(
            f"{name} has shape {sizes}; it must be ({x.shape[0]}, {columns}) or (1, {columns})."
        )


def check_bracket(raw: Tensor, x: Tensor, coefficients: Tensor) -> None:
    """What all brackets share: F, the state x and the packed coefficients."""
    check_network(raw, "raw")
    check_state(x, "x", raw)
    check_coefficients(coefficients, x)


def check_per_sample(tensor: Tensor, name: str, batch: int, dtype: torch.dtype) -> None:
    """A vector with one entry per sample."""
    check_dtype(tensor, name, dtype)
    if tuple(tensor.shape) != (batch,):
        raise InputError(f"{name} has shape {tuple(tensor.shape)}; it must be ({batch},).")


def check_writable(tensor: Tensor, name: str) -> None:
    """No two elements in one place: a tensor that is overwritten."""
    if any(n > 1 and step == 0 for n, step in zip(tensor.shape, tensor.stride(), strict=True)):
        raise InputError(f"{name} is expanded (a stride is 0); it is overwritten: clone it first.")


def _check_same_shape(tensor: Tensor, like: Tensor, name: str) -> None:
    if tensor.shape != like.shape:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}; it must be {tuple(like.shape)}.")
    check_device(tensor, name, like)
