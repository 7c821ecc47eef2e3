"""Latent diffusion: a denoiser of latents, and the autoencoder between them and the images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vml_fast.denoisers.autoencoder import Autoencoder
from vml_fast.errors import InputError
from vml_fast.schedules import SIGMA_MAX, SIGMA_MIN


class LatentDenoiser(nn.Module):
    """A prior whose noise lives on the latents: ``x0 = Dec(z0) + e``, and D(z, sigma) denoises z.

    It is called as any denoiser, on latents. Solvers that know it (`LatentVMLMAP`) restore images.

    Args:
        denoiser: D(z, sigma) on latents in variance-exploding coordinates, any callable.
        autoencoder: Enc and Dec; a diffusers `AutoencoderKL` or `VQModel` goes into `Autoencoder`.
        autoencoder_std: standard deviation of e, what the autoencoder cannot represent, in units of
            the images, at least 0: the RMS error of its reconstructions.

    Attributes:
        image_shape: ``(C, H, W)``.
        latent_shape: ``(c, h, w)``.
        sigma_min: smallest noise level of the denoiser.
        sigma_max: largest.

    Raises:
        InputError: an argument is of another kind, or the two speak of different latents.
    """

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        autoencoder: Autoencoder,
        *,
        autoencoder_std: float = 0.0,
    ) -> None:
        super().__init__()
        if not callable(denoiser):
            raise InputError(f"denoiser must be a function D(z, sigma), got {denoiser!r}")
        if not isinstance(autoencoder, Autoencoder):
            raise InputError(
                f"autoencoder must be an Autoencoder, got a {type(autoencoder).__name__}; "
                "diffusers' models go into vml_fast.denoisers.Autoencoder(model, image_shape)"
            )
        shape = getattr(denoiser, "image_shape", autoencoder.latent_shape)
        if tuple(shape) != autoencoder.latent_shape:
            raise InputError(
                f"denoiser takes latents of shape {tuple(shape)}, but the autoencoder makes "
                f"{autoencoder.latent_shape}; they must be equal"
            )
        self.autoencoder_std = checked_std(autoencoder_std)
        self.denoiser = denoiser
        self.autoencoder = autoencoder
        self.image_shape = autoencoder.image_shape
        self.latent_shape = autoencoder.latent_shape
        self.sigma_min = float(getattr(denoiser, "sigma_min", SIGMA_MIN))
        self.sigma_max = float(getattr(denoiser, "sigma_max", SIGMA_MAX))

    @property
    def scaling_factor(self) -> float:
        """Of the latents; see `Autoencoder`."""
        return self.autoencoder.scaling_factor

    def encode(self, x: Tensor) -> Tensor:
        """Latents ``(B, c, h, w)`` of images ``(B, C, H, W)`` in [-1, 1]."""
        return self.autoencoder.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` of latents ``(B, c, h, w)``; differentiable."""
        return self.autoencoder.decode(z)

    def forward(self, z: Tensor, sigma: Tensor, **condition: Any) -> Tensor:
        """Denoise latents.

        Args:
            z: ``(B, c, h, w)``, ``z = z0 + sigma * eps``.
            sigma: ``(B,)``.
            **condition: keywords of the denoiser.

        Returns:
            The estimate of ``z0``, of z's shape.
        """
        return self.denoiser(z, sigma, **condition)


def checked_std(value: Any) -> float:
    """A finite number of at least 0, or an `InputError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e3:
        raise InputError(f"autoencoder_std must be a number in [0, 1000), got {value!r}")
    return float(value)


@torch.no_grad()
def reconstruction_error(autoencoder: Autoencoder, images: Tensor) -> Tensor:
    """RMS difference of each image from its reconstruction, ``(B,)`` float64.

    Args:
        autoencoder: Enc and Dec.
        images: ``(B, C, H, W)`` in [-1, 1].
    """
    error = autoencoder.decode(autoencoder.encode(images)) - images
    return error.double().square().flatten(1).mean(dim=1).sqrt()
