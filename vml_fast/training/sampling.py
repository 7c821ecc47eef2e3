"""Unconditional samples, to see what a prior has learned."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vml_fast.evaluation.images import to_uint8
from vml_fast.training.checkpoint import replace_file
from vml_fast.training.loss import Denoise


def noise_levels(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> list[float]:
    """``steps`` levels from sigma_max down to sigma_min, then 0 (Karras et al. 2022, Eq. 5)."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [*((first + ramp * (last - first)) ** rho).tolist(), 0.0]


@torch.no_grad()
def heun_sample(
    denoise: Denoise,
    noise: Tensor,
    steps: int = 18,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
) -> Tensor:
    """Deterministic second-order sampler (Karras et al. 2022, arXiv 2206.00364, Algorithm 1).

    Args:
        denoise: D(x, sigma).
        noise: standard normal, ``(B, C, H, W)``.
        steps: number of noise levels; 2 steps - 1 network passes.
        sigma_min: last level above 0.
        sigma_max: first level.

    Returns:
        ``(B, C, H, W)``, about [-1, 1].
    """

    def slope(x: Tensor, level: float) -> Tensor:
        return (x - denoise(x, x.new_full((len(x),), level))) / level

    levels = noise_levels(steps, sigma_min, sigma_max)
    x = noise * levels[0]
    for level, following in pairwise(levels):
        first = slope(x, level)
        euler = x + (following - level) * first
        if following > 0:
            x = x + (following - level) * (first + slope(euler, following)) / 2
        else:
            x = euler
    return x


def save_grid(images: Tensor, path: Path, columns: int, zoom: int = 1) -> None:
    """Write images as one PNG, row by row.

    Args:
        images: ``(B, 3, H, W)`` in [-1, 1].
        path: of the PNG.
        columns: images per row; missing ones of the last row are white.
        zoom: pixels per image pixel.
    """
    batch, channels, height, width = images.shape
    rows = -(-batch // columns)
    blank = images.new_ones(rows * columns - batch, channels, height, width)
    tiles = to_uint8(torch.cat([images, blank]).cpu())
    tiles = tiles.reshape(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    picture = Image.fromarray(tiles.reshape(rows * height, columns * width, channels).numpy())
    size = (picture.width * zoom, picture.height * zoom)
    picture = picture.resize(size, Image.Resampling.NEAREST)
    replace_file(path, lambda temporary: picture.save(temporary, format="PNG"))
