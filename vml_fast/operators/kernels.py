"""Blur kernels, float64, entries summing to 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vml_fast.checks import check_count, check_number
from vml_fast.errors import InputError
from vml_fast.operators.draws import uniforms


def gaussian_kernel(taps: int, std: float) -> Tensor:
    """exp(-t²/(2 std²)), normalized, at `taps` unit steps around the center: (taps,).

    Args:
        taps: number of entries.
        std: standard deviation in pixels, positive.
    """
    taps = check_count("taps", taps, 1)
    std = check_number("std", std, 0, math.inf, low_open=True)
    t = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    # Relative to the largest entry, so that a tiny std leaves the center and not 0/0.
    exponent = -0.5 * (t / std) ** 2
    kernel = torch.exp(exponent - exponent.max())
    return kernel / kernel.sum()


def uniform_kernel(taps: int) -> Tensor:
    """1/taps: (taps,)."""
    taps = check_count("taps", taps, 1)
    return torch.full((taps,), 1 / taps, dtype=torch.float64)


def motion_kernel(size: int, intensity: float = 0.5, seed: int = 0) -> Tensor:
    """A camera-shake kernel: the time that a random path spends in each pixel, (size, size).

    The path moves at constant speed; its direction performs a random walk, with a few sudden
    turns. It is scaled to fit into the kernel, its mean lies on the pixel (size//2, size//2), so a
    blurred image is not displaced, and it is drawn with bilinear weights. This is a model of its
    own, close to, but not the same as, the kernels of the `motionblur` package that DPS and DAPS
    use.

    Args:
        size: side of the kernel, odd, at least 3.
        intensity: 0 (a straight line) to 1 (much shaken).
        seed: draws the path.
    """
    size = check_count("size", size, 1)
    if size < 3 or size % 2 == 0:
        raise InputError(f"size is {size}; allowed: an odd integer of at least 3")
    path = _path(check_number("intensity", intensity, 0, 1), 16 * size, seed)
    reach = np.abs(path).max()
    path = path * (0.8 * (size // 2) / reach) + size // 2
    return _draw(path, size)


def _path(intensity: float, steps: int, seed: Any) -> np.ndarray:
    """Points (steps, 2) of a random path with mean zero."""
    draws = uniforms(3 * steps + 1, seed)
    start, (radius, angle, sudden) = draws[0], draws[1:].reshape(3, steps)
    normals = np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)
    # Over the whole path the direction wanders by about π·intensity, with some three turns of up to
    # 90° at full intensity.
    turn = normals * math.pi * intensity / math.sqrt(steps)
    turn += np.where(sudden < 3 * intensity / steps, (angle - 0.5) * math.pi, 0.0)
    direction = 2 * math.pi * start + np.cumsum(turn)
    path = np.cumsum(np.stack([np.sin(direction), np.cos(direction)], 1), 0)
    return path - path.mean(0)


def _draw(path: np.ndarray, size: int) -> Tensor:
    """Spread the points of `path` over the four pixels around each, and normalize."""
    corner = np.floor(path).astype(np.int64)
    fraction = path - corner
    kernel = np.zeros((size, size))
    for row in (0, 1):
        for column in (0, 1):
            row_weight = fraction[:, 0] if row else 1 - fraction[:, 0]
            column_weight = fraction[:, 1] if column else 1 - fraction[:, 1]
            np.add.at(
                kernel, (corner[:, 0] + row, corner[:, 1] + column), row_weight * column_weight
            )
    return torch.from_numpy(kernel / kernel.sum())
