"""Unconditional samples, to see what a prior has learned."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vml_fast.denoisers.base import per_image
from vml_fast.evaluation.files import write_whole
from vml_fast.evaluation.images import to_uint8
from vml_fast.schedules import edm_schedule
from vml_fast.training.loss import Denoise


def heun_step(denoise: Denoise, x: Tensor, sigma: Tensor, following: Tensor) -> Tensor:
    """One second-order step of the ODE dx/dsigma = (x - D(x, sigma))/sigma.

    Args:
        denoise: D(x, sigma).
        x: ``(B, C, H, W)`` at noise level ``sigma``.
        sigma: ``(B,)``.
        following: the level to go to, ``(B,)``; 0 takes the first-order step.

    Returns:
        ``(B, C, H, W)``.
    """

    def slope(x: Tensor, level: Tensor) -> Tensor:
        return (x - denoise(x, level)) / per_image(level, x)

    change = per_image(following - sigma, x)
    first = slope(x, sigma)
    euler = x + change * first
    if not bool((following > 0).all()):
        return euler
    return x + change * (first + slope(euler, following)) / 2


@torch.no_grad()
def flow_end(
    denoise: Denoise, x: Tensor, sigma: float, steps: int = 18, sigma_min: float = 0.002
) -> Tensor:
    """Where the ODE of a denoiser from x ends: what a consistency model distilled from it learns.

    Args:
        denoise: D(x, sigma).
        x: ``(B, C, H, W)`` at noise level ``sigma``.
        sigma: above ``sigma_min``.
        steps: noise levels from ``sigma`` to ``sigma_min``, spaced as EDM's; at least 2.
        sigma_min: where it ends.

    Returns:
        ``(B, C, H, W)``.
    """
    levels = edm_schedule(steps, sigma_min=sigma_min, sigma_max=sigma).to(x)
    for level, following in pairwise(levels):
        x = heun_step(denoise, x, level.expand(len(x)), following.expand(len(x)))
    return x


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
    levels = edm_schedule(steps, sigma_min=sigma_min, sigma_max=sigma_max).to(noise)
    levels = torch.cat([levels, levels.new_zeros(1)])
    x = noise * levels[0]
    for level, following in pairwise(levels):
        x = heun_step(denoise, x, level.expand(len(x)), following.expand(len(x)))
    return x


def save_grid(images: Tensor, path: Path, columns: int, zoom: int = 1) -> None:
    """Write images as one PNG, row by row.

    Args:
        images: ``(B, 3, H, W)`` in [-1, 1].
        path: of the PNG; its folder is made if missing.
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
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: picture.save(file, format="PNG"))
