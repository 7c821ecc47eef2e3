"""What a solve is about: the measurement, its noise and the settings of the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vml_fast.denoisers.base import Scalings, per_image
from vml_fast.operators.base import LinearOperator


@dataclass(frozen=True)
class Problem:
    """y = H x + sigma_y n and how its step is preconditioned.

    Attributes:
        operator: H.
        y: (B, *measurement_shape) in the dtype and on the device of the state.
        noise_std: (B,) float64 sigma_y.
        preconditioner: None, "auto", "pseudo_inverse" or "noise_aware".
        prior_weight: beta on the null space, "auto" or a number in [0, 1].
        step_size: dimensionless multiplier of the step.
        backend: which implementation of the fused ops runs, "auto" or a name.
    """

    operator: LinearOperator
    y: Tensor
    noise_std: Tensor
    preconditioner: str | None
    prior_weight: float | str
    step_size: float
    backend: str = "auto"


class Level(NamedTuple):
    """One noise level of the outer loop.

    Attributes:
        sigma: sigma_t as a float64 scalar tensor on the CPU.
        scalings: the denoiser's c_skip, c_out, c_in, c_noise at sigma, each (B,).
        active: (B,) 1 where this level is optimized, 0 where a sample's stop_sigma is reached.
    """

    sigma: Tensor
    scalings: Scalings
    active: Tensor


def column(values: Tensor, like: Tensor) -> Tensor:
    """(B,) values that multiply `like` (B, ...), in its dtype and on its device."""
    return per_image(values.to(device=like.device, dtype=like.dtype), like)


def denoised_image(level: Level, x: Tensor, output: Tensor) -> Tensor:
    """D = c_skip x + c_out F in the dtype of x (Karras et al. 2022, Eq. 7)."""
    skip, out = column(level.scalings.skip, x), column(level.scalings.out, x)
    return torch.addcmul(skip * x, out, output.to(x.dtype))
