"""Latent problems whose answers are known: a Gaussian on the latents of a linear autoencoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.denoisers.linear_autoencoder import (
    F64,
    IMAGE_SHAPE,
    LATENT_SHAPE,
    affine,
    linear_autoencoder,
)
from vml_fast.denoisers import GaussianMixtureDenoiser, LatentDenoiser
from vml_fast.operators import MatrixOperator

N = 8
ROWS = 5


@dataclass
class LatentProblem:
    """y = H (A z + c) + sigma_y n, z ~ N(m, C), with dense matrices of everything."""

    noise_std: float
    autoencoder_std: float = 0.0

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(1)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=F64)

        autoencoder = linear_autoencoder()
        self.a, self.c = affine(autoencoder)
        self.mean = 0.3 * draw(N)
        factor = 0.3 * draw(N, N)
        self.covariance = factor @ factor.T + 0.02 * torch.eye(N, dtype=F64)
        self.denoiser = GaussianMixtureDenoiser(
            self.mean[None], self.covariance[None], image_shape=LATENT_SHAPE
        )
        self.prior = LatentDenoiser(
            self.denoiser, autoencoder, autoencoder_std=self.autoencoder_std
        )
        self.h = draw(ROWS, 16) / 3.0
        self.operator = MatrixOperator(self.h, IMAGE_SHAPE)
        self.g = self.h @ self.a
        latents = self.mean + torch.linalg.cholesky(self.covariance) @ draw(N)
        self.y = (self.h @ (self.a @ latents + self.c) + self.noise_std * draw(ROWS))[None]

    @property
    def on_latents(self) -> MatrixOperator:
        """The same problem where the latents are the image: H A."""
        return MatrixOperator(self.g, LATENT_SHAPE)

    @property
    def y_on_latents(self) -> Tensor:
        """And its measurement."""
        return self.y - self.h @ self.c

    def image(self, latents: Tensor) -> Tensor:
        """A z + c."""
        return (latents.flatten(1) @ self.a.T + self.c).reshape(-1, *IMAGE_SHAPE)

    def precision(self) -> Tensor:
        """Of y given z, the inverse of sigma_y^2 I + sigma_e^2 H H^T."""
        covariance = self.noise_std**2 * torch.eye(ROWS, dtype=F64)
        return torch.linalg.inv(covariance + self.autoencoder_std**2 * self.h @ self.h.T)

    def stationary(self, sigma: float) -> Tensor:
        """D where (D - z) / sigma^2 + G^T S (y - H c - G D) = 0, S the precision of y."""
        eye = torch.eye(N, dtype=F64)
        slope = torch.linalg.solve(self.covariance + sigma**2 * eye, self.covariance)
        data = self.g.T @ self.precision()
        # with z = W^-1 (D - (I - W) m): ( (I - W^-1) / sigma^2 - data G ) D + ... = 0
        inverse = torch.linalg.inv(slope)
        left = (eye - inverse) / sigma**2 - data @ self.g
        right = -inverse @ (eye - slope) @ self.mean / sigma**2 - data @ self.y_on_latents[0]
        return torch.linalg.solve(left, right)
