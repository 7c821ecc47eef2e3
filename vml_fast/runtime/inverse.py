"""The regularized inverse of H, one regularization per sample, and the spectrum behind it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vml_fast.operators.base import LinearOperator, SVDOperator
from vml_fast.operators.cg import conjugate_gradient
from vml_fast.runtime.problem import column

CG_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}
CG_ITERATIONS = 200


def spectrum(operator: LinearOperator, device: torch.device) -> tuple[Tensor, Tensor]:
    """The singular values and which of them count as non-zero.

    Both have the dimensions of `operator.spectral(x)`, with a batch of 1 where the samples share
    them; the values are float64.
    """
    assert isinstance(operator, SVDOperator)

    def aligned(t: Tensor) -> Tensor:
        return t.reshape(*(1,) * (len(operator.spectral_shape) + 1 - t.ndim), *t.shape).to(device)

    return aligned(operator.spectral_singular_values()), aligned(operator.spectral_retained())


def squared_norms(operator: LinearOperator, device: torch.device) -> Tensor:
    """s_max^2 of each sample's H, (1,) or (B,) float64; of all where H has no SVD."""
    if operator.has_svd:
        return spectrum(operator, device)[0].flatten(1).amax(1).square()
    return torch.tensor([operator.norm()], dtype=torch.float64, device=device).square()


def regularized_inverse(
    operator: LinearOperator, rho: Tensor, like: Tensor
) -> Callable[[Tensor], Tensor]:
    """The function r -> H^T (H H^T + rho I)^-1 r = (H^T H + rho I)^-1 H^T r.

    At rho = 0 it is the pseudo-inverse. By the SVD where there is one, without the singular values
    that the operator counts as zero; else by conjugate gradients.

    Args:
        operator: H.
        rho: (B,) float64, at least 0.
        like: a tensor of the dtype and on the device of r.

    Returns:
        The function, (B, *measurement_shape) -> (B, C, H, W).
    """
    rho = rho.to(like.device)
    if not operator.has_svd:
        weight = rho.to(like.dtype)

        def solve(r: Tensor) -> Tensor:
            return conjugate_gradient(
                lambda x: operator.adjoint(operator.forward(x)) + column(weight, x) * x,
                operator.adjoint(r),
                tol=CG_TOLERANCE[like.dtype],
                max_iter=CG_ITERATIONS,
            )

        return solve
    s, kept = spectrum(operator, like.device)
    total = torch.where(kept, s**2 + rho.reshape(-1, *(1,) * (s.ndim - 1)), 1.0)
    gain = torch.where(kept, s / total, 0.0).to(like.dtype)
    return lambda r: operator.spatial(gain * operator.spectral_measurement(r))
