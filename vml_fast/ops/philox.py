"""Counter-based Gaussian noise: the same numbers on every backend, device, batch and shard.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) maps a 128-bit
counter and a 64-bit key to four 32-bit integers. Here

    key     = (seed low, seed high)
    counter = (element // 4, draw, sample low, sample high)

so the number at one element of one image depends on (seed, sample, draw, element) alone, where
`element` is the logical C, H, W index whatever the memory format. Word `element % 4` of the output
belongs to the element; words (0, 1) and (2, 3) form two Box-Muller pairs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)


def _multiply_high_low(factor: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """Both 32-bit halves of `factor * word`, by halves: int64 is too short for the product."""
    low, high = word & 0xFFFF, word >> 16
    by_low = factor * low
    middle = factor * high + (by_low >> 16)
    return middle >> 16, ((middle & 0xFFFF) << 16) | (by_low & 0xFFFF)


def _rounds(counter: list[Tensor], key: list[Tensor]) -> list[Tensor]:
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _multiply_high_low(MULTIPLIERS[0], c0)
        high1, low1 = _multiply_high_low(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + KEY_INCREMENTS[0]) & MASK32, (k1 + KEY_INCREMENTS[1]) & MASK32
    return [c0, c1, c2, c3]


def philox_words(elements: int, seed: Tensor, sample: Tensor, draw: int | Tensor) -> Tensor:
    """The uniform 32-bit integers behind `normal`.

    Args:
        elements: how many elements an image has (C * H * W), at least 1.
        seed: (B,) int64.
        sample: (B,) int64, the index of each image in its run.
        draw: which draw of the run, an int or an int64 tensor of one element.

    Returns:
        (B, blocks, 4) int64 with values in [0, 2**32), blocks = ceil(elements / 4).
    """
    device = seed.device
    blocks = torch.arange((elements + 3) // 4, device=device, dtype=torch.int64)
    draw = torch.as_tensor(draw, device=device, dtype=torch.int64)
    shape = (seed.shape[0], blocks.numel())
    counter = [
        blocks.expand(shape),
        draw.reshape(1, 1).expand(shape) & MASK32,
        (sample & MASK32).unsqueeze(1).expand(shape),
        ((sample >> 32) & MASK32).unsqueeze(1).expand(shape),
    ]
    key = [(seed & MASK32).unsqueeze(1), ((seed >> 32) & MASK32).unsqueeze(1)]
    return torch.stack(_rounds(counter, key), dim=-1)


def box_muller(words: Tensor, dtype: torch.dtype) -> Tensor:
    """Standard normals from 32-bit integers, two by two; uniforms keep the upper 24 bits.

    Args:
        words: (..., 4) int64 in [0, 2**32).
        dtype: float32 or float64, the precision of the transform.

    Returns:
        (..., 4) in `dtype`, within +-5.77.
    """
    upper = (words >> 8).to(dtype)
    first, second = upper[..., 0::2], upper[..., 1::2]
    radius = torch.sqrt(-2.0 * torch.log((first + 1.0) * 2.0**-24))
    angle = second * (2.0 * math.pi * 2.0**-24)
    return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=-1).flatten(-2)


def normal(
    shape: tuple[int, ...],
    *,
    seed: Tensor,
    sample: Tensor,
    draw: int | Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard Gaussian noise keyed by (seed, sample), counted by (draw, element).

    Args:
        shape: (B, ...) of the noise; the trailing dimensions are counted in C, H, W order.
        seed: (B,) int64, on the device of the result.
        sample: (B,) int64.
        draw: index of the draw; a solver starts with 0 and leaves level i with draw i.
        dtype: float32 or float64.

    Returns:
        A contiguous tensor of `shape`.
    """
    elements = math.prod(shape[1:])
    words = philox_words(elements, seed, sample, draw)
    return box_muller(words, dtype).flatten(1)[:, :elements].reshape(shape)
