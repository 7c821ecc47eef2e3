"""Every kind of operator on small color images, some with data per sample, and what it measures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vml_fast import operators as ops
from vml_fast.operators.base import LinearOperator

SHAPE = (3, 8, 8)
N = math.prod(SHAPE)
BATCH = 2
"""Of the operators whose data is per sample."""


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def _operators() -> dict[str, LinearOperator]:
    kernel = ops.gaussian_kernel(5, 1.0)
    kernels = torch.stack([torch.outer(kernel, kernel), torch.ones(5, 5).double() / 25])
    masks = (_random(BATCH, 1, 8, 8) > 0).double()
    return {
        "denoising": ops.Denoising(SHAPE),
        "masks per sample": ops.Inpainting(SHAPE, masks),
        "block mean": ops.SuperResolution(SHAPE, 2),
        "bicubic": ops.BicubicSuperResolution(SHAPE, 2),
        "separable blur": ops.SeparableBlur(SHAPE, kernel),
        "kernels per sample": ops.CircularBlur(SHAPE, kernels[:, None]),
        "colorization": ops.Colorization(SHAPE),
        "walsh-hadamard": ops.WalshHadamard(SHAPE, 0.5, seed=1),
        "wide matrix": ops.MatrixOperator(_random(40, N) / N**0.5, SHAPE),
        "tall matrix": ops.MatrixOperator(_random(250, N) / N**0.5, SHAPE),
    }


OPERATORS = _operators()
"""Name to operator, each with an SVD."""
MATRIX_FREE = ops.LinearMap(lambda x: x[..., ::2] + 0.5 * x[..., 1::2], SHAPE)
"""One without."""


def measured(operator: LinearOperator, truth: Tensor, noise_std: float) -> Tensor:
    """H x + noise, float64, the same noise in every call."""
    clean = operator(truth).double()
    generator = torch.Generator().manual_seed(4)
    return clean + noise_std * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
