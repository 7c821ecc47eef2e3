"""The point-wise middle of a bracket in singular-value coordinates, real or complex."""

from __future__ import annotations

import torch
from torch import Tensor

from vml_fast.ops.backends import register


def spectral_filter(
    z: Tensor, target: Tensor, s: Tensor, alpha: Tensor, beta: Tensor | None
) -> Tensor:
    """alpha (U^T y - s V^T D) + beta V^T (D - x) in one pass over the coordinates.

        t = alpha (target - s z[0])  (+ beta z[1] where s is not 0)

    Args:
        z: (1, B, C, h, w) V^T D, or (2, B, C, h, w) V^T D and V^T (D - x); float32 or float64, or
            complex for a Fourier basis. Contiguous in the compiled versions.
        target: (B | 1, C | 1, h, w) U^T y, in the dtype of z.
        s: (B | 1, C | 1, h | 1, w | 1) real singular values.
        alpha: real, likewise broadcast.
        beta: real, likewise broadcast; None exactly if z has no second entry.

    Returns:
        (B, C, h, w) contiguous, in the dtype of z.
    """
    t = alpha * (target - s * z[0])
    if beta is not None:
        t = t + torch.where(s != 0, beta, torch.zeros_like(beta)) * z[1]
    return t


def fake(z: Tensor, target: Tensor, s: Tensor, alpha: Tensor, beta: Tensor | None) -> Tensor:
    """The output's shape and strides."""
    return z.new_empty(z.shape[1:])


OP = register("spectral_filter", spectral_filter, fake=fake)
