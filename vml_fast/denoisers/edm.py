"""Networks with EDM preconditioning (Karras et al. 2022, arXiv 2206.00364, Table 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vml_fast.denoisers.base import ScaledDenoiser, Scalings
from vml_fast.errors import InputError


def edm_scalings(sigma: Tensor, sigma_data: float = 0.5, noise_scale: float = 1.0) -> Scalings:
    """The EDM coefficients; the training loss uses the same ones.

    Args:
        sigma: noise levels, ``(B,)``, > 0.
        sigma_data: standard deviation of the data, > 0.
        noise_scale: factor on ``c_noise = ln(sigma) / 4``, for networks that expect larger numbers.

    Returns:
        ``c_skip = sd²/(sigma² + sd²)``, ``c_out = sigma sd/sqrt(sigma² + sd²)``,
        ``c_in = 1/sqrt(sigma² + sd²)``, ``c_noise = noise_scale ln(sigma)/4``, each ``(B,)``.
    """
    total = sigma.square() + sigma_data**2
    return Scalings(
        skip=sigma_data**2 / total,
        out=sigma * sigma_data * torch.rsqrt(total),
        input=torch.rsqrt(total),
        noise=noise_scale * sigma.log() / 4,
    )


class EDMDenoiser(ScaledDenoiser):
    """A network trained with EDM preconditioning.

    The formulas hold at every ``sigma > 0``; nothing is clipped to ``[sigma_min, sigma_max]``.

    Args:
        network: ``F(u, c_noise, **condition)``; see `ScaledDenoiser`.
        image_shape: ``(C, H, W)``.
        sigma_data: standard deviation of the training images, > 0.
        sigma_min: smallest noise level of the training, > 0.
        sigma_max: largest, > sigma_min.
        noise_scale: the network's time-step input is ``noise_scale * ln(sigma) / 4``; not 0.

    Raises:
        InputError: an argument is outside its range.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        image_shape: tuple[int, int, int],
        sigma_data: float = 0.5,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        noise_scale: float = 1.0,
    ) -> None:
        super().__init__(network, image_shape, sigma_min, sigma_max)
        if not 0 < sigma_data < float("inf"):
            raise InputError(f"sigma_data must be positive, got {sigma_data}")
        if not 0 < abs(noise_scale) < float("inf"):
            raise InputError(f"noise_scale must be finite and not 0, got {noise_scale}")
        self.sigma_data = float(sigma_data)
        self.noise_scale = float(noise_scale)

    def scalings(self, sigma: Tensor) -> Scalings:
        """The EDM coefficients at ``sigma`` ``(B,)``; see `edm_scalings`."""
        return edm_scalings(sigma, self.sigma_data, self.noise_scale)
