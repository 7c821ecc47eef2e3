"""Small problems whose answers are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.operators import MatrixOperator
from vml_fast.operators.base import LinearOperator

SHAPE = (1, 2, 4)
N = 8


def mixture(seed: int = 0, components: int = 3, spread: float = 0.15) -> GaussianMixtureDenoiser:
    """A correlated mixture on 8 pixels, well separated, within [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    means = 1.2 * torch.rand(components, N, generator=generator, dtype=torch.float64) - 0.6
    factors = torch.randn(components, N, N, generator=generator, dtype=torch.float64)
    covariances = spread**2 * (factors @ factors.mT / N + 0.1 * torch.eye(N, dtype=torch.float64))
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)[:components]
    return GaussianMixtureDenoiser(means, covariances, weights, image_shape=SHAPE)


def matrix(rows: int = 4, seed: int = 1, norm: float = 1.0) -> Tensor:
    """A well-conditioned dense H with largest singular value `norm`."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(rows, N, generator=generator, dtype=torch.float64)
    left, _, right = torch.linalg.svd(dense, full_matrices=False)
    values = norm * torch.linspace(1.0, 0.4, min(rows, N), dtype=torch.float64)
    return left * values @ right


@dataclass
class Problem:
    """A prior, an operator, and measurements of samples of the prior."""

    denoiser: GaussianMixtureDenoiser
    operator: LinearOperator
    truth: Tensor
    y: Tensor
    noise_std: float


def problem(
    noise_std: float = 0.0,
    batch: int = 4,
    dtype: torch.dtype = torch.float64,
    norm: float = 1.0,
) -> Problem:
    """y = H x + noise for `batch` samples of the mixture."""
    denoiser = mixture()
    operator = MatrixOperator(matrix(norm=norm), SHAPE)
    generator = torch.Generator().manual_seed(2)
    truth = denoiser.mixture.sample(batch, generator=generator)
    clean = operator(truth)
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    return Problem(
        denoiser, operator, truth.to(dtype), (clean + noise_std * noise).to(dtype), noise_std
    )
