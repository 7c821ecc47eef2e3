"""What a Gaussian mixture is made of, checked: means, covariances by eigenvectors, log-weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vml_fast.denoisers.base import checked_image_shape
from vml_fast.errors import InputError

ArrayLike = Tensor | Sequence[Any] | float

_ROUNDING = 1e-12  # an eigenvalue this far below zero, relative to the largest, is rounding


class Parameters(NamedTuple):
    """A mixture in float64, every covariance as ``Q_k diag(spread_k) Q_kᵀ``."""

    means: Tensor  # (K, n)
    spread: Tensor  # (K, n) eigenvalues of the covariances
    axes: Tensor | None  # (K, n, n) eigenvectors as columns; None where they are the pixels
    log_weights: Tensor  # (K,)

    def to(self, device: torch.device) -> Parameters:
        """The same on another device."""
        axes = None if self.axes is None else self.axes.to(device)
        return Parameters(
            self.means.to(device), self.spread.to(device), axes, self.log_weights.to(device)
        )


def checked_parameters(
    means: ArrayLike,
    covariances: ArrayLike,
    weights: ArrayLike | None,
    image_shape: tuple[int, int, int] | None,
) -> tuple[tuple[int, int, int], Parameters]:
    """The image shape and the parameters; arguments and errors are those of `GaussianMixture`."""
    shape, flat = _checked_means(means, image_shape)
    spread, axes = _eigen(_float64("covariances", covariances).to(flat.device), *flat.shape)
    log_weights = _checked_weights(weights, len(flat)).to(flat.device).log()
    return shape, Parameters(flat, spread, axes, log_weights)


def _float64(name: str, values: ArrayLike) -> Tensor:
    try:
        tensor = torch.as_tensor(values, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be an array of numbers, got {values!r}") from None
    if not bool(tensor.isfinite().all()):
        raise InputError(f"{name} must be finite, got NaN or infinity")
    return tensor


def _checked_means(
    means: ArrayLike, image_shape: tuple[int, int, int] | None
) -> tuple[tuple[int, int, int], Tensor]:
    """The image shape and the means as ``(K, n)``."""
    tensor = _float64("means", means)
    if tensor.ndim not in (2, 4) or not tensor.numel():
        raise InputError(f"means must have shape (K, n) or (K, C, H, W), got {tuple(tensor.shape)}")
    flat = tensor.flatten(1)
    own = tensor.shape[1:] if tensor.ndim == 4 else (1, 1, flat.shape[1])
    shape = checked_image_shape(own if image_shape is None else image_shape)
    if math.prod(shape) != flat.shape[1]:
        raise InputError(f"image_shape {shape} must hold the {flat.shape[1]} numbers of a mean")
    return shape, flat


def _checked_weights(weights: ArrayLike | None, components: int) -> Tensor:
    if weights is None:
        return torch.full((components,), 1 / components, dtype=torch.float64)
    tensor = _float64("weights", weights)
    if tensor.shape != (components,):
        raise InputError(f"weights must have shape ({components},), got {tuple(tensor.shape)}")
    if bool((tensor < 0).any()) or not bool(tensor.sum() > 0):
        raise InputError(f"weights must be at least 0 with a positive sum, got {tensor.tolist()}")
    return tensor / tensor.sum()


def _eigen(covariances: Tensor, components: int, n: int) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues ``(K, n)`` and eigenvectors ``(K, n, n)`` (None for diagonal covariances)."""
    axes = None
    if covariances.shape == (components, n, n):
        if not torch.allclose(covariances, covariances.mT, rtol=1e-6, atol=1e-12):
            raise InputError("covariances must be symmetric")
        spread, axes = torch.linalg.eigh(covariances)
        rounding = 10 * n * torch.finfo(spread.dtype).eps * spread.amax(1, keepdim=True)
        spread = torch.where(spread.abs() <= rounding, 0.0, spread)
    elif covariances.shape in ((components, n), (components,), ()):
        column = covariances if covariances.ndim == 2 else covariances.reshape(-1, 1)
        spread = column.expand(components, n)
    else:
        allowed = f"(), ({components},), ({components}, {n}) or ({components}, {n}, {n})"
        raise InputError(f"covariances must have shape {allowed}, got {tuple(covariances.shape)}")
    if bool((spread < -_ROUNDING * spread.abs().amax()).any()):
        raise InputError(
            "covariances must be positive semi-definite, "
            f"got a smallest eigenvalue of {spread.min():.4g}"
        )
    return spread.clamp(min=0.0), axes
