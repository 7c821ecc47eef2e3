"""Conditioning a Gaussian mixture on ``y = H x0 + sigma_y eps``, densely and in float64.

With ``H = U S Vᵀ`` (rank r) only ``z = S^-1 Uᵀ y = Vᵀ x0 + sigma_y S^-1 eps`` informs about x0, and
each component is conditioned on it (Bishop 2006, Sec. 2.3.3). In this form small singular values
and sigma_y = 0 are well conditioned.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vml_fast.errors import InputError

if TYPE_CHECKING:
    from vml_fast.operators.base import LinearOperator

_SINGULAR = 1e-13  # relative; below it a noiseless measurement contradicts a singular prior


class Conditioned(NamedTuple):
    """A posterior, and what its evidence is made of."""

    means: Tensor  # (K, n)
    covariances: Tensor  # (K, n, n)
    log_weights: Tensor  # (K,) log of w_k p(Uᵀy | k), not normalized
    log_outside: Tensor | None  # () log p(y outside the range); None: no density


def condition(
    means: Tensor,
    covariances: Tensor,
    log_weights: Tensor,
    operator: LinearOperator,
    y: Tensor,
    noise_std: float,
) -> Conditioned:
    """Condition every component on one measurement.

    Args:
        means: ``(K, n)``.
        covariances: ``(K, n, n)``.
        log_weights: ``(K,)``.
        operator: H on images of n numbers.
        y: ``measurement_shape``, or with a batch axis of 1.
        noise_std: sigma_y, at least 0.

    Returns:
        The posterior.

    Raises:
        InputError: y has another shape, noise_std is negative, or the noiseless measurement
            meets a covariance that is singular on the rows of H.
    """
    if not 0 <= noise_std < math.inf:
        raise InputError(f"noise_std must be finite and at least 0, got {noise_std}")
    flat_y = _one_measurement(operator, y).to(means)
    u, s, v = _reduced_svd(dense_matrix(operator).to(means))
    z = (u.mT @ flat_y) / s
    noise = (noise_std / s).square()
    gain, factor = _gain(covariances, v, noise)
    innovation = z - means @ v  # (K, r)
    keep = torch.eye(len(v), dtype=v.dtype, device=v.device) - gain @ v.mT
    posterior = keep @ covariances @ keep.mT + (gain * noise) @ gain.mT  # Joseph: stays symmetric
    if noise_std == 0:
        posterior = _restricted(posterior, v)
    log_normal = _log_normal(innovation, factor) - s.log().sum()
    return Conditioned(
        means=means + (gain @ innovation[..., None])[..., 0],
        covariances=(posterior + posterior.mT) / 2,
        log_weights=log_weights + log_normal,
        log_outside=_log_outside(flat_y, u, noise_std),
    )


def dense_matrix(operator: LinearOperator) -> Tensor:
    """H as a matrix ``(m, n)`` in float64, column by column."""
    n = math.prod(operator.image_shape)
    basis = torch.eye(n, dtype=torch.float64).reshape(n, *operator.image_shape)
    return operator.forward(basis).flatten(1).mT


def _one_measurement(operator: LinearOperator, y: Tensor) -> Tensor:
    shape = tuple(operator.measurement_shape)
    if tuple(y.shape) not in (shape, (1, *shape)):
        raise InputError(f"y must be one measurement of shape {shape}, got {tuple(y.shape)}")
    if not bool(y.isfinite().all()):
        raise InputError("y must be finite, got NaN or infinity")
    return y.flatten()


def _reduced_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``U (m, r)``, ``s (r,)``, ``V (n, r)`` with the numerical rank r in float64."""
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    kept = s > s.max() * max(matrix.shape) * torch.finfo(s.dtype).eps
    return u[:, kept], s[kept], vt[kept].mT


def _gain(covariances: Tensor, v: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """``K = C V M^-1`` ``(K, n, r)`` and the Cholesky factor of ``M = Vᵀ C V + noise``."""
    cross = covariances @ v
    total = v.mT @ cross + torch.diag(noise)
    if not bool((noise > 0).all()):
        values = torch.linalg.eigvalsh(total)
        if bool((values <= _SINGULAR * values.amax()).any()):
            raise InputError(
                "noise_std must be > 0 where a covariance is singular on the rows of the operator"
            )
    factor = torch.linalg.cholesky(total)
    return torch.cholesky_solve(cross.mT, factor).mT, factor


def _restricted(covariances: Tensor, v: Tensor) -> Tensor:
    """Exact zeros, not rounding, in the directions of v that a noiseless measurement determines."""
    null = torch.linalg.qr(v, mode="complete").Q[:, v.shape[1] :]
    return null @ (null.mT @ covariances @ null) @ null.mT


def _log_normal(residual: Tensor, factor: Tensor) -> Tensor:
    """``log N(residual; 0, L Lᵀ)``, ``(K,)``."""
    whitened = torch.linalg.solve_triangular(factor, residual[..., None], upper=False)[..., 0]
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -(whitened.square().sum(-1) + log_det + residual.shape[-1] * math.log(2 * math.pi)) / 2


def _log_outside(y: Tensor, u: Tensor, noise_std: float) -> Tensor | None:
    dimensions = u.shape[0] - u.shape[1]
    if dimensions == 0:
        return y.new_zeros(())
    if noise_std == 0:
        return None
    outside = y - u @ (u.mT @ y)
    scale = math.log(2 * math.pi) + 2 * math.log(noise_std)
    return -((outside / noise_std).square().sum() + dimensions * scale) / 2
