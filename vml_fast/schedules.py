"""Noise levels sigma_1 > ... > sigma_N of the outer loop."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vml_fast.arrays import Array, as_floating
from vml_fast.checks import check_count
from vml_fast.errors import InputError

SIGMA_MIN = 0.002
SIGMA_MAX = 80.0
RHO = 7.0
DDPM_STEPS = 1000
DDPM_BETAS = (1e-4, 0.02)


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
        rho: how much the levels crowd toward sigma_min, finite and above 0.

    Returns:
        (N,) float64, strictly decreasing; N times the same where sigma_min is sigma_max.

    Raises:
        InputError: an argument is outside its range.
    """
    steps = check_count("steps", steps, 1)
    if not 0.0 < sigma_min <= sigma_max < float("inf"):
        raise InputError(
            f"sigma_min is {sigma_min} and sigma_max is {sigma_max}; "
            "they must be finite with 0 < sigma_min <= sigma_max."
        )
    if not 0.0 < rho < float("inf"):
        raise InputError(f"rho is {rho}; it must be finite and above 0.")
    if steps == 1:
        return torch.tensor([sigma_max], dtype=torch.float64)
    fraction = torch.arange(steps, dtype=torch.float64) / (steps - 1)
    start, end = sigma_max ** (1.0 / rho), sigma_min ** (1.0 / rho)
    return (start + fraction * (end - start)) ** rho


def ddpm_schedule(steps: int, *, sigma_min: float = 0.0, sigma_max: float = float("inf")) -> Tensor:
    """Equally spaced time steps of DDPM's linear schedule, in variance-exploding coordinates.

    The T = 1000 steps of Ho et al. 2020 (arXiv 2006.11239), beta from 1e-4 to .02, have
    sigma_t = sqrt((1 - abar_t) / abar_t), from .01 to 157. N of them are t = 0, T/N, 2 T/N, ...
    (DDRM, DPS and PiGDM); where the range is narrower, its part of the time axis takes the place
    of T. The sigma of a fractional t is interpolated linearly in ln(sigma).

    Args:
        steps: N, at least 1; one step is the largest level alone.
        sigma_min: no level lies below it, nor below .01.
        sigma_max: no level lies above it, nor above 157.

    Returns:
        (N,) float64, strictly decreasing.

    Raises:
        InputError: steps is no whole number of at least 1, or the range holds no level.
    """
    steps = check_count("steps", steps, 1)
    betas = torch.linspace(DDPM_BETAS[0], DDPM_BETAS[1], DDPM_STEPS, dtype=torch.float64)
    abar = (1.0 - betas).cumprod(0)
    levels = ((1.0 - abar) / abar).log() / 2
    low, high = max(sigma_min, float(levels[0].exp())), min(sigma_max, float(levels[-1].exp()))
    if not low < high:
        raise InputError(
            f"sigma_min is {sigma_min} and sigma_max is {sigma_max}; sigma_min must be the smaller "
            "one, and between them there must be levels of DDPM, 0.01 to 157."
        )
    ends = torch.tensor([low, high], dtype=torch.float64).log()
    first, last = time_step(ends, levels).tolist()
    if steps == 1:
        return torch.tensor([high], dtype=torch.float64)
    spacing = min((last - first + 1.0) / steps, (last - first) / (steps - 1))
    time = first + spacing * torch.arange(steps - 1, -1, -1, dtype=torch.float64)
    below = time.floor().long().clamp(0, DDPM_STEPS - 2)
    return torch.lerp(levels[below], levels[below + 1], time - below).exp()


def time_step(log_sigma: Tensor, levels: Tensor) -> Tensor:
    """The fractional index of ln(sigma) among the increasing ln(sigma) of discrete steps.

    Args:
        log_sigma: any shape, clipped to the range of `levels`.
        levels: (T,).

    Returns:
        Like `log_sigma`, in [0, T - 1]; linear in ln(sigma) between two steps.
    """
    log_sigma = log_sigma.to(levels).clamp(levels[0], levels[-1])
    above = torch.searchsorted(levels, log_sigma).clamp(min=1)
    low, high = levels[above - 1], levels[above]
    return above - 1 + (log_sigma - low) / (high - low)


def check_schedule(schedule: Array | Sequence[float]) -> Tensor:
    """A caller's own noise levels as float64, or one sentence on what is wrong with them."""
    levels = as_floating(schedule, "schedule").double().cpu()
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
