"""Variance-preserving (DDPM) networks in variance-exploding coordinates.

A network trained on ``x_vp = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps`` (Ho et al. 2020, arXiv
2006.11239) is a denoiser of ``x = x_vp / sqrt(abar_t) = x0 + sigma_t eps`` with
``sigma_t = sqrt((1 - abar_t) / abar_t)`` and ``c_in = sqrt(abar_t) = 1/sqrt(1 + sigma_t²)``
(Karras et al. 2022, arXiv 2206.00364, Table 1 and App. C.3.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from vml_fast.denoisers.base import ScaledDenoiser, Scalings
from vml_fast.errors import InputError
from vml_fast.schedules import DDPM_BETAS, DDPM_STEPS, time_step

Prediction = Literal["eps", "x0", "v"]

SCHEDULES: dict[str, tuple[float, float] | None] = {
    "linear": DDPM_BETAS,
    "scaled_linear": (0.00085, 0.012),
    "cosine": None,
}
"""Named schedules and the default beta of their first and last step."""

_LARGEST_BETA = 0.999  # Nichol & Dhariwal 2021: the cosine schedule's last betas are capped


def alphas_cumprod(
    schedule: str,
    steps: int = DDPM_STEPS,
    beta_start: float | None = None,
    beta_end: float | None = None,
) -> Tensor:
    """``abar_t``, the cumulative product of ``1 - beta_t``, of a named schedule.

    Args:
        schedule: "linear" (Ho et al. 2020: beta from 1e-4 to .02), "scaled_linear" (latent
            diffusion, Rombach et al. 2022: sqrt(beta) linear, from .00085 to .012), or "cosine"
            (Nichol & Dhariwal 2021, Eq. 17, beta at most .999).
        steps: number of discrete steps T, at least 2.
        beta_start: beta of the first step, in (0, 1); not for "cosine".
        beta_end: beta of the last step, in (0, 1); not for "cosine".

    Returns:
        ``(T,)`` float64, strictly decreasing.

    Raises:
        InputError: an unknown name or a number outside its range.
    """
    if schedule not in SCHEDULES:
        raise InputError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if not isinstance(steps, int) or steps < 2:
        raise InputError(f"steps must be a whole number of at least 2, got {steps!r}")
    defaults = SCHEDULES[schedule]
    if defaults is None:
        if beta_start is not None or beta_end is not None:
            raise InputError("beta_start and beta_end must be None for the cosine schedule")
        betas = _cosine_betas(steps)
    else:
        first = defaults[0] if beta_start is None else beta_start
        last = defaults[1] if beta_end is None else beta_end
        if not (0 < first < 1 and 0 < last < 1):
            raise InputError(f"beta_start and beta_end must be in (0, 1), got {first} and {last}")
        power = 2 if schedule == "scaled_linear" else 1
        root = 1 / power
        betas = torch.linspace(first**root, last**root, steps, dtype=torch.float64) ** power
    return (1 - betas).cumprod(0)


def _cosine_betas(steps: int) -> Tensor:
    t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    abar = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
    return (1 - abar[1:] / abar[:-1]).clamp(max=_LARGEST_BETA)


def zero_terminal_snr(abar: Tensor) -> Tensor:
    """Rescale ``sqrt(abar)`` so that it ends at 0 (Lin et al. 2023, arXiv 2305.08891, Alg. 1).

    Args:
        abar: ``(T,)``, strictly decreasing.

    Returns:
        ``(T,)``, the first entry unchanged, the last 0.
    """
    root = abar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()


class VPDenoiser(ScaledDenoiser):
    """A DDPM-style network as ``D(x; sigma)`` in variance-exploding coordinates.

    The time step is interpolated linearly in ``ln(sigma)`` between the discrete steps, so that the
    network sees fractional steps. Against the smooth cosine schedule of 1000 steps the sigma of a
    fractional step is off by at most 3.1 % between the first two steps and by less than .1 % from
    the tenth on. A sigma outside ``[sigma_min, sigma_max]``, the range of the schedule, is clipped
    to it: ``D(x; sigma) = D(x; clip(sigma))``.

    Args:
        network: ``F(u, t, **condition)`` with the step index t, ``(B,)`` in ``[0, T - 1]``; see
            `ScaledDenoiser`. Learned-variance channels are dropped before any derivative.
        image_shape: ``(C, H, W)``.
        schedule: a name of `SCHEDULES` at its defaults, or ``abar`` itself, ``(T,)``, strictly
            decreasing, in (0, 1); a last entry of 0 (zero terminal SNR) is left out, since no
            finite sigma belongs to it.
        prediction: what the network predicts: "eps", "x0", or
            "v" ``= sqrt(abar) eps - sqrt(1 - abar) x0`` (Salimans & Ho 2022, arXiv 2202.00512).

    Raises:
        InputError: an argument is outside its range.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        image_shape: tuple[int, int, int],
        schedule: str | Tensor | Sequence[float] = "linear",
        prediction: Prediction = "eps",
    ) -> None:
        if prediction not in get_args(Prediction):
            allowed = ", ".join(get_args(Prediction))
            raise InputError(f"prediction must be one of {allowed}, got {prediction!r}")
        abar = alphas_cumprod(schedule) if isinstance(schedule, str) else _checked(schedule)
        log_sigmas = ((1 - abar) / abar).log() / 2
        sigma_min, sigma_max = log_sigmas[[0, -1]].exp().tolist()
        super().__init__(network, image_shape, sigma_min, sigma_max)
        self.prediction = prediction
        # Kept out of the module's buffers: casting the network must not round the schedule.
        self._log_sigmas = {log_sigmas.device: log_sigmas}

    def time_step(self, sigma: Tensor) -> Tensor:
        """The fractional step index of ``sigma`` ``(B,)``, clipped to ``[0, T - 1]``."""
        if sigma.device not in self._log_sigmas:
            self._log_sigmas[sigma.device] = next(iter(self._log_sigmas.values())).to(sigma.device)
        levels = self._log_sigmas[sigma.device]
        return time_step(sigma.to(levels).log(), levels).to(sigma)

    def scalings(self, sigma: Tensor) -> Scalings:
        """The coefficients of this network's prediction type at ``sigma`` ``(B,)``."""
        sigma = sigma.clamp(self.sigma_min, self.sigma_max)
        c_in = torch.rsqrt(1 + sigma.square())
        skip, out = {
            "eps": (torch.ones_like(sigma), -sigma),
            "x0": (torch.zeros_like(sigma), torch.ones_like(sigma)),
            "v": (c_in.square(), -sigma * c_in),
        }[self.prediction]
        return Scalings(skip=skip, out=out, input=c_in, noise=self.time_step(sigma))


def _checked(abar: Tensor | Sequence[float]) -> Tensor:
    levels = torch.as_tensor(abar, dtype=torch.float64).detach().cpu()
    if levels.ndim == 1 and len(levels) and levels[-1] == 0:
        levels = levels[:-1]
    decreasing = levels.ndim == 1 and len(levels) > 1 and bool((levels.diff() < 0).all())
    if not decreasing or not bool(((levels > 0) & (levels < 1)).all()):
        raise InputError(
            "schedule must be a name or a strictly decreasing array of at least two values of "
            f"alphas_cumprod in (0, 1), got {_summary(levels)}"
        )
    return levels


def _summary(levels: Tensor) -> str:
    if levels.numel() <= 4:
        return str(levels.tolist())
    return f"shape {tuple(levels.shape)}, values {levels.min():.4g} to {levels.max():.4g}"
