"""How samples lie to a known posterior: distance to its modes, coverage, log-posterior gap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vml_fast.denoisers.mixture import GaussianMixture

TRUTH_SAMPLES = 20_000


@dataclass(frozen=True)
class Score:
    """Samples against a posterior.

    Attributes:
        mode_distance: mean distance of a sample to its nearest mode.
        mode_gap: mean of log p(nearest mode) - log p(sample), nats.
        top_gap: mean of log p(highest mode) - log p(sample), nats; of exact samples of one Gaussian
            it is half the dimension.
        coverage: 1 - the total variation between the samples' shares of the modes' basins and the
            posterior's, where a point belongs to its nearest mode: 1 where every mode has its
            share.
        mean_error: distance of the means over the posterior's root-mean-square radius.
        spread: the samples' total variance over the posterior's; 1 for exact samples.
    """

    mode_distance: float
    mode_gap: float
    top_gap: float
    coverage: float
    mean_error: float
    spread: float


def score(points: Tensor, posterior: GaussianMixture, truth: Tensor | None = None) -> Score:
    """Measure samples.

    Args:
        points: (B, n).
        posterior: the exact p(x0 | y), with a density.
        truth: exact samples (T, n) for the basins' shares; drawn here by default.
    """
    points = points.double()
    if truth is None:
        generator = torch.Generator().manual_seed(0)
        truth = posterior.sample(TRUTH_SAMPLES, generator=generator).flatten(1)
    modes = posterior.modes().flatten(1)
    height = posterior.log_prob(modes)
    distance, nearest = torch.cdist(points, modes).min(dim=1)
    log_prob = posterior.log_prob(points)
    shares = torch.bincount(nearest, minlength=len(modes)) / len(points)
    basins = torch.cdist(truth, modes).argmin(dim=1)
    wanted = torch.bincount(basins, minlength=len(modes)) / len(truth)
    variance = posterior.covariance.diagonal().sum()
    return Score(
        mode_distance=float(distance.mean()),
        mode_gap=float((height[nearest] - log_prob).mean()),
        top_gap=float((height.max() - log_prob).mean()),
        coverage=float(1.0 - (shares - wanted).abs().sum() / 2.0),
        mean_error=float((points.mean(dim=0) - posterior.mean.flatten()).norm() / variance.sqrt()),
        spread=float(points.var(dim=0).sum() / variance),
    )
