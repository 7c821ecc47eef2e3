"""A linear autoencoder, whose latent problems have closed forms."""

from __future__ import annotations

import torch
from torch import Tensor

from vml_fast.denoisers import Autoencoder

IMAGE_SHAPE = (1, 4, 4)
LATENT_SHAPE = (2, 2, 2)
F64 = torch.float64


class LinearModel:
    """dec(l) = W l + b with orthogonal-free, well-conditioned W; enc its pseudo-inverse."""

    def __init__(self, seed: int = 5) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(16, 8, generator=generator, dtype=F64) / 3.0
        self.bias = 0.1 * torch.randn(16, generator=generator, dtype=F64)

    def decode(self, latents: Tensor) -> Tensor:
        flat = latents.flatten(1) @ self.weight.T.to(latents) + self.bias.to(latents)
        return flat.reshape(-1, *IMAGE_SHAPE)

    def encode(self, images: Tensor) -> Tensor:
        inverse = torch.linalg.pinv(self.weight).to(images)
        return ((images.flatten(1) - self.bias.to(images)) @ inverse.T).reshape(-1, *LATENT_SHAPE)


def linear_autoencoder(scaling_factor: float = 0.5, shift_factor: float = 0.2) -> Autoencoder:
    return Autoencoder(
        LinearModel(), IMAGE_SHAPE, scaling_factor=scaling_factor, shift_factor=shift_factor
    )


def affine(autoencoder: Autoencoder) -> tuple[Tensor, Tensor]:
    """A and c of Dec(z) = A z + c, with the scale and the shift of the latents."""
    weight, bias = autoencoder.model.weight, autoencoder.model.bias
    matrix = weight / autoencoder.scaling_factor
    return matrix, bias + weight.sum(1) * autoencoder.shift_factor
