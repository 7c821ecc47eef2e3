"""Means over images with confidence intervals, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vml_fast.errors import require

CONFIDENCE = 0.95


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
    """The mean of the images' values, and its interval by Student's t.

    Of 8 and of 16 values it covers the mean in 95 % of all cases for normal ones and in 92 % for
    log-normal ones of a log's deviation of .5, where a BCa bootstrap does in 88 to 90 %.

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
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2.0, len(data) - 1))
    reach = quantile * float(data.std(ddof=1)) / math.sqrt(len(data))
    return Estimate(mean, mean - reach, mean + reach)


def difference(values: Sequence[float], reference: Sequence[float]) -> Estimate:
    """The mean of values minus reference, image by image: the same images, so the pairs count.

    Args:
        values: one per image.
        reference: as many.
    """
    pairs = np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    return estimate(pairs.tolist())
