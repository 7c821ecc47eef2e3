"""Denoising error on held-out images, noise level by noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vml_fast.training.data import to_model_range
from vml_fast.training.loss import Denoise

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0)


@torch.no_grad()
def level_table(
    denoise: Denoise,
    images: Tensor,
    seed: int,
    other: Denoise | None = None,
    device: torch.device | None = None,
    batch: int = 32,
) -> dict[str, float]:
    """RMS difference of D(y + sigma n; sigma) from y, or from another denoiser's output.

    Args:
        denoise: D(x, sigma).
        images: y, ``(N, 3, S, S)`` uint8.
        seed: of the noise n, the same at every level and every call.
        other: the denoiser to compare with; ``None`` compares with y.
        device: of the denoisers.
        batch: images per network pass.

    Returns:
        The difference at each of `LEVELS`, in units of the range [-1, 1], by ``f"{sigma:g}"``.
    """
    table = {}
    for sigma in LEVELS:
        generator = torch.Generator().manual_seed(seed)
        total = 0.0
        for chunk in images.split(batch):
            clean = to_model_range(chunk)
            noise = torch.randn(clean.shape, generator=generator)
            clean, noise = clean.to(device), noise.to(device)
            noisy, level = clean + sigma * noise, clean.new_full((len(clean),), sigma)
            target = clean if other is None else other(noisy, level)
            total += float((denoise(noisy, level) - target).double().square().sum())
        table[f"{sigma:g}"] = math.sqrt(total / images.numel())
    return table


def psnr(rmse: float) -> float:
    """Peak signal-to-noise ratio in dB for images of range [-1, 1]: 20 log10(2 / rmse)."""
    return math.inf if rmse == 0 else 20 * math.log10(2 / rmse)


def nearest_distance(images: Tensor, others: Tensor) -> Tensor:
    """RMS difference of each image from its nearest neighbour among ``others``.

    Args:
        images: ``(N, 3, S, S)`` uint8.
        others: ``(M, 3, S, S)`` uint8.

    Returns:
        ``(N,)``, in units of the range [-1, 1].
    """
    a, b = (to_model_range(part).flatten(1) for part in (images, others))
    return (torch.cdist(a, b) / a.shape[1] ** 0.5).amin(1)
