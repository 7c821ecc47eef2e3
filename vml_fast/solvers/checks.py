"""The arguments that all solvers share, checked: one sentence for what is wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from vml_fast.arrays import Array, as_tensor, is_array
from vml_fast.checks import check_count
from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator

LARGEST_NOISE = 1e6
"""Largest sigma_y, images in [-1, 1]; far above, the squares of y in float32 overflow."""


def check_operator(operator: object) -> None:
    """H is a linear operator."""
    if not isinstance(operator, LinearOperator):
        raise InputError(
            f"operator is a {type(operator).__name__}; it must be a LinearOperator, such as "
            "those of vml_fast.operators."
        )


def check_denoiser(denoiser: object, name: str = "denoiser", symbol: str = "D") -> None:
    """D, or another model under its name and symbol, is a function, and no operator."""
    if not callable(denoiser) or isinstance(denoiser, LinearOperator):
        raise InputError(
            f"{name} is a {type(denoiser).__name__}; it must be a function {symbol}(x, sigma)."
        )


def check_measurement(y: Array, operator: LinearOperator) -> Tensor:
    """y as a finite float tensor of shape (B, *measurement_shape)."""
    if not is_array(y):
        raise InputError(
            f"y is a {type(y).__name__}; it must be a torch tensor, or a NumPy or CuPy array."
        )
    y = as_tensor(y, "y")
    expected = tuple(operator.measurement_shape)
    if tuple(y.shape[1:]) != expected or y.ndim != len(expected) + 1:
        raise InputError(
            f"y has shape {tuple(y.shape)}; it must be (B, {', '.join(map(str, expected))}), "
            "batch first, for this operator."
        )
    if y.dtype not in (torch.float32, torch.float64):
        raise InputError(f"y has dtype {y.dtype}; it must be float32 or float64.")
    if y.shape[0] == 0:
        raise InputError("y holds no image; its batch size must be at least 1.")
    if not bool(torch.isfinite(y).all()):
        raise InputError("y holds NaN or infinite entries; all must be finite.")
    return y


def check_per_sample(name: str, values: float | Array, batch: int) -> Tensor:
    """A standard deviation or noise level of each sample, (B,) float64 on the CPU."""
    level = as_tensor(values, name, allowed=f"a number or {batch} of them").double().cpu()
    if level.ndim > 1 or (level.ndim == 1 and level.shape[0] != batch):
        raise InputError(
            f"{name} has shape {tuple(level.shape)}; it must be a number or {batch} of them."
        )
    if not bool(torch.isfinite(level).all()) or bool((level < 0).any()):
        raise InputError(f"{name} is {values!r}; it must be finite and at least 0.")
    return level.expand(batch)


def check_noise_std(values: float | Array, batch: int = 1, name: str = "noise_std") -> Tensor:
    """sigma_y of each sample, in [0, LARGEST_NOISE]; (B,) float64 on the CPU."""
    level = check_per_sample(name, values, batch)
    if bool((level > LARGEST_NOISE).any()):
        raise InputError(f"{name} is {values!r}; it must be at most {LARGEST_NOISE:g}.")
    return level


def check_solve_options(condition: object, callback: object) -> None:
    """The keywords of the denoiser are a dictionary, the callback a function, where given."""
    if condition is not None and not isinstance(condition, dict):
        raise InputError(
            f"condition is a {type(condition).__name__}; it must be a dictionary of the denoiser's "
            "keywords."
        )
    if callback is not None and not callable(callback):
        raise InputError(
            f"callback is a {type(callback).__name__}; it must be a function of a State."
        )


def check_max_batch(value: object) -> int:
    """A whole number of at least 1; "auto" and None are seen to before."""
    try:
        return check_count("max_batch", value, 1)
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}, 'auto' or None.") from None


def check_image_shape(denoiser: object, operator: LinearOperator) -> None:
    """The denoiser and the operator speak of images of one shape."""
    shape = getattr(denoiser, "image_shape", None)
    if shape is not None and tuple(shape) != tuple(operator.image_shape):
        raise InputError(
            f"the operator's image_shape is {tuple(operator.image_shape)} "
            f"but the denoiser takes {tuple(shape)}; they must be equal."
        )
