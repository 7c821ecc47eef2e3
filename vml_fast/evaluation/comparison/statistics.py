"""Means over images with bootstrap confidence intervals, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vml_fast.errors import require

CONFIDENCE = 0.95
RESAMPLES = 2000


class Estimate(NamedTuple):
    """A mean and the interval it is in, with the confidence `CONFIDENCE`.

    Attributes:
        mean: over the images; infinite or NaN where an image's value is.
        low: lower end; NaN where there is no interval (one image, or values that are not finite).
        high: upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of the images' values, and its BCa bootstrap interval (Efron 1987).

    The resamples are drawn from a fixed seed, so that a report made again is the same.

    Args:
        values: one per image, at least one.

    Raises:
        MissingExtra: SciPy is not installed.
    """
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if len(data) < 2 or not np.isfinite(data).all():
        return Estimate(mean, math.nan, math.nan)
    if float(np.ptp(data)) <= 1e-12 * max(1e-300, float(np.abs(data).max())):
        return Estimate(mean, mean, mean)
    stats = require("scipy.stats", "evaluation")
    found = stats.bootstrap(
        (data,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(mean, float(found.low), float(found.high))


def difference(values: Sequence[float], reference: Sequence[float]) -> Estimate:
    """The mean of values minus reference, image by image: the same images, so the pairs count.

    Args:
        values: one per image.
        reference: as many.
    """
    pairs = np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    return estimate(pairs.tolist())
