"""Priors of small pictures whose denoisers and posteriors are exact."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.evaluation.comparison.dataset import spread
from vml_fast.evaluation.heldout import heldout_emoji


def small_emoji(side: int, count: int) -> Tensor:
    """Held-out emoji in gray, (count, 1, side, side) float64, spread evenly over their names."""
    names, images = heldout_emoji()
    rows = spread(len(names), count)
    return F.avg_pool2d(images[rows].mean(dim=1, keepdim=True), 64 // side).double()


def smooth_prior(
    side: int = 16, components: int = 12, std: float = 0.5, decay: float = 2.0
) -> GaussianMixtureDenoiser:
    """A mixture around emoji whose details are small as those of natural images are.

    Every component has the same covariance, diagonal for the cosine transform, with standard
    deviation ``std / (1 + f)^decay`` at frequency f: all scales of variance, down to little.

    Args:
        side: pixels per side, a divisor of 64.
        components: how many emoji, the centers.
        std: standard deviation at frequency 0.
        decay: how fast it falls.
    """
    k = torch.arange(side, dtype=torch.float64)
    basis = torch.cos(math.pi * (k[:, None] + 0.5) * k / side) * (2.0 / side) ** 0.5
    basis[:, 0] /= 2.0**0.5  # (pixel, frequency), orthonormal
    frequency = (k[:, None] ** 2 + k**2).sqrt().flatten()
    axes = torch.kron(basis, basis)
    variance = (std / (1.0 + frequency) ** decay).square()
    covariance = (axes * variance) @ axes.T
    centers = small_emoji(side, components)
    return GaussianMixtureDenoiser(centers, covariance.expand(components, -1, -1).contiguous())
