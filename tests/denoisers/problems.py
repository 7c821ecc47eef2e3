"""Small mixtures and operators whose answers can be computed in another way."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from vml_fast.denoisers import GaussianMixture, GaussianMixtureDenoiser

F64 = torch.float64


class DenseOperator:
    """The part of an operator that the mixture and the objective use, from a matrix (m, n)."""

    def __init__(self, matrix: Tensor, image_shape: tuple[int, int, int]) -> None:
        self.matrix = matrix
        self.image_shape = image_shape
        self.measurement_shape = (len(matrix),)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.to(x.dtype).mT

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.matrix.to(y.dtype)).reshape(-1, *self.image_shape)


def parameters(n: int = 4, components: int = 3, kind: str = "full") -> tuple[Tensor, ...]:
    """Means (K, n), covariances of one kind, the same covariances as (K, n, n), weights (K,)."""
    generator = torch.Generator().manual_seed(n + 10 * components)
    means = torch.randn(components, n, generator=generator, dtype=F64)
    if kind == "isotropic":
        covariances = 0.05 + 0.3 * torch.rand(components, generator=generator, dtype=F64)
        full = covariances[:, None, None] * torch.eye(n, dtype=F64)
    elif kind == "diagonal":
        covariances = 0.05 + 0.3 * torch.rand(components, n, generator=generator, dtype=F64)
        full = torch.diag_embed(covariances)
    else:
        factors = torch.randn(components, n, n, generator=generator, dtype=F64)
        covariances = full = 0.1 * (factors @ factors.mT) + 0.02 * torch.eye(n, dtype=F64)
    weights = torch.rand(components, generator=generator, dtype=F64) + 0.2
    return means, covariances, full, weights / weights.sum()


def mixture_denoiser(
    image_shape: tuple[int, int, int], kind: str = "full"
) -> GaussianMixtureDenoiser:
    """The exact denoiser of images by the mixture of `parameters`."""
    means, covariances, _, weights = parameters(math.prod(image_shape), kind=kind)
    return GaussianMixtureDenoiser(means, covariances, weights, image_shape=image_shape)


def distribution(means: Tensor, covariances: Tensor, weights: Tensor) -> MixtureSameFamily:
    """The mixture as torch.distributions has it: log-densities and samples by other code."""
    return MixtureSameFamily(Categorical(weights), MultivariateNormal(means, covariances))


def same_distribution(mixture: GaussianMixture) -> MixtureSameFamily:
    """A non-singular `GaussianMixture` as a torch.distributions object."""
    return distribution(mixture.means, mixture.covariances, mixture.weights)


def grid(low: float, high: float, points: int) -> tuple[Tensor, float]:
    """A square grid of 2-D points (points², 2) and the area of a cell."""
    axis = torch.linspace(low, high, points, dtype=F64)
    return torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2
