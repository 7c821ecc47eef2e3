"""What a solve is about: the measurement, its noise and the settings of the step."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from vml_fast.denoisers.base import Scalings, per_image
from vml_fast.operators.base import LinearOperator
from vml_fast.preconditioners import Coefficients, coefficients, uses_pseudo_inverse


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

    @property
    def is_noisy(self) -> bool:
        """Whether any measurement holds noise."""
        return bool((self.noise_std > 0).any())

    @property
    def pulls_on_null_space(self) -> bool:
        """Whether beta can be above 0 where H sees nothing, without noise in y."""
        return self.preconditioner is not None and self.prior_weight not in ("auto", 0.0)

    @property
    def has_prior_term(self) -> bool:
        """Whether beta can be above 0 anywhere."""
        return self.is_noisy or self.pulls_on_null_space

    @property
    def uses_noise_aware(self) -> bool:
        """Whether a noisy measurement takes the form whose beta depends on s."""
        if self.preconditioner is None:
            return False
        inverse = uses_pseudo_inverse(self.preconditioner, self.noise_std)
        return bool(((self.noise_std > 0) & ~inverse).any())

    @property
    def structure(self) -> Hashable:
        """Equal for two problems whose inner steps are the same computation on other numbers."""
        return (
            self.operator.structure,
            (tuple(self.y.shape), self.y.dtype, self.y.device),
            (self.preconditioner, self.prior_weight, self.backend),
            (self.is_noisy, self.uses_noise_aware),
        )

    def coefficients(self, s: Tensor, kept: Tensor, norm: Tensor, sigma_t: Tensor) -> Coefficients:
        """alpha and beta without step size; arguments as `vml_fast.preconditioners.coefficients`.

        They are rational in sigma_t, and 0 either at every noise level or at none.
        """
        return coefficients(
            s,
            kept,
            norm=norm,
            sigma_t=sigma_t.to(s.device),
            noise_std=self.noise_std.to(s.device),
            preconditioner=self.preconditioner,
            prior_weight=self.prior_weight,
        )


class Level(NamedTuple):
    """One noise level of the outer loop.

    Attributes:
        sigma: sigma_t as a float64 scalar tensor on the CPU; the largest where samples differ.
        scalings: the denoiser's c_skip, c_out, c_in, c_noise at sigma_t, each (B,).
        active: (B,) 1 where this level is optimized, 0 where a sample's stop_sigma is reached.
    """

    sigma: Tensor
    scalings: Scalings
    active: Tensor


def column(values: Tensor, like: Tensor) -> Tensor:
    """(B,) values that multiply `like` (B, ...), in its dtype and on its device."""
    return per_image(values.to(device=like.device, dtype=like.dtype), like)
