"""EDM training loss (Karras et al. 2022, arXiv 2206.00364, Table 1 and Eq. 2 and 8)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vml_fast.denoisers.base import Scalings, per_image
from vml_fast.denoisers.edm import edm_scalings

Denoise = Callable[[Tensor, Tensor], Tensor]


class PreconditionedNetwork(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), for training: weights are not frozen.

    Args:
        network: F, called as ``network(x, timestep)`` on ``(B, C, H, W)`` and ``(B,)``.
        sigma_data: standard deviation of the images.
        noise_scale: s in c_noise = s ln(sigma)/4. ln(sigma)/4 spans only about 2.6 between
            sigma 0.002 and 80; s spreads it over the periods of a sinusoidal time embedding.
    """

    def __init__(self, network: nn.Module, sigma_data: float, noise_scale: float) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data
        self.noise_scale = noise_scale

    def scalings(self, sigma: Tensor) -> Scalings:
        """The coefficients at levels ``sigma`` ``(B,)``."""
        return edm_scalings(sigma, self.sigma_data, self.noise_scale)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise ``x`` ``(B, C, H, W)`` at levels ``sigma`` ``(B,)``; float32, of x's shape."""
        scale = self.scalings(sigma)
        output = self.network(per_image(scale.input, x) * x, scale.noise)
        return per_image(scale.skip, x) * x + per_image(scale.out, x) * output.float()


def draw_sigma(batch: int, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """Noise levels with ln(sigma) ~ N(mean, std²), ``(B,)`` float32.

    One uniform offset and B equal steps of the quantile (Kingma et al. 2021, arXiv 2107.00630,
    appendix I.1) cover the distribution in every batch, so the gradient varies less.
    """
    offset = torch.rand((), generator=generator, dtype=torch.float64)
    quantile = (offset + torch.arange(batch, dtype=torch.float64) / batch) % 1
    normal = torch.special.ndtri(quantile.clamp(1e-7, 1 - 1e-7))
    return (mean + std * normal).exp().float()


def edm_loss(
    denoise: Denoise, images: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float
) -> Tensor:
    """Weighted denoising error of each image, ``lambda(sigma) mean (D(y + sigma n; sigma) - y)²``.

    With lambda = (sigma² + sigma_data²)/(sigma sigma_data)² = 1/c_out², a network F of output zero
    has a loss of about 1 at every noise level if the images have standard deviation sigma_data.

    Args:
        denoise: D(x, sigma).
        images: y, ``(B, C, H, W)``.
        sigma: ``(B,)``, > 0.
        noise: n, standard normal, of the shape of ``images``.
        sigma_data: as in the preconditioning.

    Returns:
        ``(B,)``.
    """
    denoised = denoise(images + per_image(sigma, noise) * noise, sigma)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return weight * (denoised - images).square().flatten(1).mean(1)
