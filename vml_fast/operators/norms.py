"""The largest singular value of an operator that has no SVD."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# The estimate comes from below; the margin lifts it above the largest singular value, which is
# what a stable step size needs.
MARGIN = 1.02
_MAX_ITERATIONS = 200
_MIN_ITERATIONS = 20
_TOLERANCE = 1e-4


def power_iteration(
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> float:
    """Estimate s_max by power iteration on HᵀH from a fixed random start.

    Args:
        forward: x -> H x on batches.
        adjoint: y -> Hᵀ y on batches.
        shape: (B, C, H, W) of the start; each sample is iterated on its own.
        dtype: dtype of the iteration.
        device: device of the iteration.

    Returns:
        The largest estimate over the samples, times 1.02. 0.0 if H is zero.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)
    estimate = torch.zeros(shape[0], dtype=dtype, device=device)
    with torch.no_grad():
        for iteration in range(_MAX_ITERATIONS):
            x = x / _norm(x).clamp_min(torch.finfo(dtype).tiny)
            y = forward(x)
            previous, estimate = estimate, _norm(y).flatten()
            settled = (estimate - previous).abs() <= _TOLERANCE * estimate
            if iteration >= _MIN_ITERATIONS and bool(settled.all()):
                break
            x = adjoint(y)
    return MARGIN * float(estimate.max())


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm of each sample, shaped (B, 1, ...)."""
    return x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
