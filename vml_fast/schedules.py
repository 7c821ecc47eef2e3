"""Noise levels sigma_1 > ... > sigma_N of the outer loop."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vml_fast.errors import InputError

SIGMA_MIN = 0.002
SIGMA_MAX = 80.0
RHO = 7.0


def edm_schedule(
    steps: int,
    *,
    sigma_min: float = SIGMA_MIN,
    sigma_max: float = SIGMA_MAX,
    rho: float = RHO,
) -> Tensor:
    """Noise levels of Karras et al. 2022 (EDM), Eq. 5.

        sigma_i = (a + i/(N-1) (b - a))^rho,  i = 0 ... N-1
        a = sigma_max^(1/rho),  b = sigma_min^(1/rho)

    Args:
        steps: N, the number of levels, at least 1; one level is sigma_max alone.
        sigma_min: the last level, above 0.
        sigma_max: the first level, not below sigma_min.
        rho: how much the levels crowd toward sigma_min, above 0.

    Returns:
        (N,) float64, strictly decreasing.

    Raises:
        InputError: an argument is outside its range.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InputError(f"steps is {steps!r}; it must be a whole number of at least 1.")
    if not 0.0 < sigma_min <= sigma_max < float("inf"):
        raise InputError(
            f"sigma_min is {sigma_min} and sigma_max is {sigma_max}; "
            "they must be finite with 0 < sigma_min <= sigma_max."
        )
    if not rho > 0.0:
        raise InputError(f"rho is {rho}; it must be above 0.")
    if steps == 1:
        return torch.tensor([sigma_max], dtype=torch.float64)
    fraction = torch.arange(steps, dtype=torch.float64) / (steps - 1)
    start, end = sigma_max ** (1.0 / rho), sigma_min ** (1.0 / rho)
    return (start + fraction * (end - start)) ** rho


def check_schedule(schedule: Tensor | Sequence[float]) -> Tensor:
    """A caller's own noise levels as float64, or one sentence on what is wrong with them."""
    levels = torch.as_tensor(schedule, dtype=torch.float64).cpu()
    if levels.ndim != 1 or levels.numel() == 0:
        raise InputError(
            f"schedule has shape {tuple(levels.shape)}; it must be a non-empty vector."
        )
    if not bool(torch.isfinite(levels).all()) or not bool((levels > 0).all()):
        raise InputError(
            "schedule holds a level that is not finite and positive; all must be above 0."
        )
    if not bool((levels[1:] < levels[:-1]).all()):
        raise InputError(
            "schedule is not strictly decreasing; order the noise levels from high to low."
        )
    return levels
