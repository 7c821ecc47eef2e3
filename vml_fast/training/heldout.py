"""Denoising error on held-out images, noise level by noise level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vml_fast.training.data import to_model_range
from vml_fast.training.loss import Denoise
from vml_fast.training.sampling import flow_end

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
FLOW_LEVELS = (0.1, 0.5, 2.0, 10.0, 40.0, 80.0)


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


@torch.no_grad()
def flow_table(
    models: Sequence[Denoise],
    teacher: Denoise,
    images: Tensor,
    seed: int,
    device: torch.device | None = None,
) -> list[dict[str, float]]:
    """RMS difference of each model's image from the end of the teacher's ODE (`flow_end`).

    Args:
        models: C(x, sigma), or denoisers.
        teacher: D(x, sigma).
        images: ``(N, 3, S, S)`` uint8; x is such an image with noise.
        seed: of the noise, the same at every level and every call.
        device: of the models.

    Returns:
        For each model the difference at each of `FLOW_LEVELS`, in units of the range [-1, 1], by
        ``f"{sigma:g}"``.
    """
    clean = to_model_range(images)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    tables: list[dict[str, float]] = [{} for _ in models]
    for sigma in FLOW_LEVELS:
        x = (clean + sigma * noise).to(device)
        level = x.new_full((len(x),), sigma)
        end = flow_end(teacher, x, sigma)
        for table, model in zip(tables, models, strict=True):
            error = float((model(x, level) - end).double().square().mean().sqrt())
            table[f"{sigma:g}"] = float(f"{error:.4g}")
    return tables


def psnr(rmse: float) -> float:
    """Peak signal-to-noise ratio in dB for images of range [-1, 1]: 20 log10(2 / rmse)."""
    return math.inf if rmse == 0 else 20 * math.log10(2 / rmse)


def nearest_distance(images: Tensor, others: Tensor) -> Tensor:
    """RMS difference of each image from its nearest neighbor among ``others``.

    Args:
        images: ``(N, 3, S, S)`` uint8.
        others: ``(M, 3, S, S)`` uint8.

    Returns:
        ``(N,)``, in units of the range [-1, 1].
    """
    a, b = (to_model_range(part).flatten(1) for part in (images, others))
    return (torch.cdist(a, b) / a.shape[1] ** 0.5).amin(1)
