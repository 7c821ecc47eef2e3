"""The step to the next noise level with counter-based noise, and the integers behind that noise."""

from __future__ import annotations

import torch
from torch import Tensor

from vml_fast.ops import philox
from vml_fast.ops.backends import register
from vml_fast.ops.coefficients import like


def transition(
    denoised: Tensor, sigma: Tensor, seed: Tensor, sample: Tensor, draw: Tensor
) -> Tensor:
    """x <- D + sigma n, n standard normal, keyed by (seed, sample) and counted by (draw, element).

    See `vml_fast.ops.philox` for the generator. The element index is the logical C, H, W one, so
    the noise of an image depends on neither the batch nor the memory format.

    Args:
        denoised: (B, C, H, W) D.
        sigma: (B,) noise level to arrive at, >= 0, in the dtype of D.
        seed: (B,) int64.
        sample: (B,) int64, the index of each image in its run.
        draw: (1,) int64, which draw of the run; a tensor, so that a captured loop can advance it.

    Returns:
        (B, C, H, W) in the dtype and memory format of D.
    """
    noise = philox.normal(
        tuple(denoised.shape), seed=seed, sample=sample, draw=draw, dtype=denoised.dtype
    )
    return like(torch.addcmul(denoised, sigma.reshape(-1, 1, 1, 1), noise), denoised)


def fake(denoised: Tensor, *_: object) -> Tensor:
    """The output's shape and strides."""
    return torch.empty_like(denoised)


def philox_words(elements: int, seed: Tensor, sample: Tensor, draw: Tensor) -> Tensor:
    """The uniform 32-bit integers behind the noise of `transition`, equal on every backend.

    Args:
        elements: how many elements an image has, at least 1.
        seed: (B,) int64.
        sample: (B,) int64.
        draw: (1,) int64.

    Returns:
        (B, ceil(elements / 4), 4) int64 with values in [0, 2**32).
    """
    return philox.philox_words(elements, seed, sample, draw)


def fake_words(elements: int, seed: Tensor, sample: Tensor, draw: Tensor) -> Tensor:
    """The output's shape."""
    return seed.new_empty(seed.shape[0], (elements + 3) // 4, 4)


OP = register("transition", transition, fake=fake)
WORDS = register(
    "philox_words", philox_words, fake=fake_words, home="transition", any_dtype=True, image=None
)
