"""What lower precision costs: how far an accelerated denoiser drifts, per noise level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vml_fast.denoisers.base import ScaledDenoiser
from vml_fast.evaluation.throughput import relative_difference
from vml_fast.ops.philox import normal
from vml_fast.runtime import jacobian

NOISE, DIRECTION = 0, 1
"""Draws of the random numbers: of x = x0 + sigma n, and of the vector that J^T is applied to."""


class Drift(NamedTuple):
    """At one noise level, over all images.

    Attributes:
        sigma: the noise level.
        output: RMS of the change of D, in units of c_out: of the network's own part.
        share: the same RMS over that of the denoiser's error, D - x0.
        product: relative RMS change of J^T v, v a random direction.
    """

    sigma: float
    output: float
    share: float
    product: float


def drift(
    plain: ScaledDenoiser,
    fast: ScaledDenoiser,
    images: Tensor,
    levels: Sequence[float],
    *,
    seed: int = 0,
    say: Callable[[str], object] = lambda text: None,
) -> list[Drift]:
    """Compare a denoiser with its accelerated form on noisy images.

    Args:
        plain: the truth.
        fast: what drifts.
        images: (B, C, H, W) x0 in [-1, 1].
        levels: noise levels, each above 0.
        seed: of the noise and the direction; both are the same at every level.
        say: told what is going on.
    """
    keys = {"seed": torch.full((len(images),), seed), "sample": torch.arange(len(images))}
    noise, v = (
        normal(tuple(images.shape), draw=draw, dtype=images.dtype, **keys).to(images)
        for draw in (NOISE, DIRECTION)
    )
    found = []
    for level in levels:
        say(f"sigma {level:.3g}")
        x = images + level * noise
        sigma = torch.full((len(images),), level, dtype=images.dtype, device=images.device)
        (truth, exact), (output, product) = (
            _with_product(denoiser, x, sigma, v) for denoiser in (plain, fast)
        )
        change = _rms(output - truth)
        c_out = float(plain.scalings(sigma).out[0])
        found.append(
            Drift(
                sigma=level,
                output=change / c_out,
                share=change / _rms(truth - images),
                product=relative_difference(product, exact),
            )
        )
    return found


def _with_product(
    denoiser: ScaledDenoiser, x: Tensor, sigma: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """D and J^T v."""
    denoised, product = jacobian.vjp(lambda u: denoiser(u, sigma), x)
    return denoised, product(v)


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())
