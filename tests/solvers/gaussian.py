"""Samplers on a single Gaussian prior: what they do is affine, so their law is known exactly.

On N(m, C) the denoiser is D(x) = W x + (I - W) m with W = C (C + sigma^2 I)^-1. A step that is
affine in the state and adds Gaussian noise maps a Gaussian law to a Gaussian law; the functions
here carry mean and covariance through the published updates, written with dense matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.solvers.problems import SHAPE, N, matrix
from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.operators import MatrixOperator
from vml_fast.runtime.noise import Noise

F64 = torch.float64
EYE = torch.eye(N, dtype=F64)


@dataclass
class Law:
    """A Gaussian law of the state: mean (n,) and covariance (n, n)."""

    mean: Tensor
    covariance: Tensor

    def affine(self, slope: Tensor, offset: Tensor, noise: Tensor) -> Law:
        """The law of slope x + offset + n, n ~ N(0, noise)."""
        return Law(slope @ self.mean + offset, slope @ self.covariance @ slope.T + noise)

    def gap(self, other: Law) -> tuple[float, float]:
        """Largest error of the mean in standard deviations, and the covariance's relative one.

        `other` is the truth, and its largest standard deviation the unit.
        """
        largest = torch.linalg.eigvalsh(other.covariance)[-1]
        mean = (self.mean - other.mean).abs().max() / largest.sqrt()
        covariance = torch.linalg.matrix_norm(self.covariance - other.covariance, 2) / largest
        return float(mean), float(covariance)


class Linear:
    """y = H x + sigma_y n with the prior N(m, C), one y, and dense matrices of everything."""

    def __init__(self, noise_std: float, rows: int = 4, identity: bool = False) -> None:
        generator = torch.Generator().manual_seed(11)
        factor = torch.randn(N, N, generator=generator, dtype=F64)
        self.m = 1.2 * torch.rand(N, generator=generator, dtype=F64) - 0.6
        self.c = EYE.clone() if identity else 0.06 * (factor @ factor.T / N + 0.2 * EYE)
        self.h = matrix(rows)
        self.noise_std = noise_std
        self.operator = MatrixOperator(self.h, SHAPE)
        self.denoiser = GaussianMixtureDenoiser(self.m[None], self.c[None], image_shape=SHAPE)
        truth = self.m + torch.linalg.cholesky(self.c) @ torch.randn(
            N, generator=generator, dtype=F64
        )
        noise = torch.randn(rows, generator=generator, dtype=F64)
        self.y = self.h @ truth + noise_std * noise

    def measured(self, batch: int) -> Tensor:
        """The one measurement, `batch` times."""
        return self.y.expand(batch, -1).contiguous()

    def slope(self, sigma: float) -> Tensor:
        """W, the denoiser's Jacobian."""
        return torch.linalg.solve(self.c + sigma**2 * EYE, self.c)

    def inverse(self, rho: float) -> Tensor:
        """H^T (H H^T + rho I)^-1."""
        rows = torch.eye(len(self.h), dtype=F64)
        return self.h.T @ torch.linalg.inv(self.h @ self.h.T + rho * rows)

    def posterior(self) -> Law:
        """The exact p(x0 | y)."""
        noise = self.noise_std**2 * torch.eye(len(self.h), dtype=F64)
        gain = self.c @ self.h.T @ torch.linalg.inv(self.h @ self.c @ self.h.T + noise)
        return Law(self.m + gain @ (self.y - self.h @ self.m), self.c - gain @ self.h @ self.c)

    def start(self, sigma: float) -> Law:
        """N(0, sigma^2 I)."""
        return Law(torch.zeros(N, dtype=F64), sigma**2 * EYE)


def sampled(images: Tensor) -> Law:
    """The sample mean and covariance of (B, C, H, W) images."""
    flat = images.flatten(1).double()
    return Law(flat.mean(0), flat.T.cov())


def assert_law(images: Tensor, law: Law) -> None:
    """Samples are of the law, up to what chance allows for their number."""
    deviation = law.covariance.diagonal().sqrt().clamp_min(1e-9)
    found = sampled(images)
    z = (found.mean - law.mean) / deviation * len(images) ** 0.5
    assert z.abs().max() < 4.0
    scale = deviation[:, None] * deviation
    error = (found.covariance - law.covariance) / scale * len(images) ** 0.5
    assert error.abs().max() < 6.0  # an entry's standard deviation is between 1 and sqrt(2)


def draws(batch: int, dtype: torch.dtype = F64) -> Noise:
    """The noise of a run with seed 0, for algorithms that are written out in a test."""
    return Noise(0, None, (batch, *SHAPE), torch.empty(0, dtype=dtype))
