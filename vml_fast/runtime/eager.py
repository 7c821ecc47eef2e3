"""The eager runner: one inner step at a time, nothing captured."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.denoisers.base import ScaledDenoiser, Scalings
from vml_fast.runtime import jacobian
from vml_fast.runtime.bracket import Bracket
from vml_fast.runtime.problem import Level, column, denoised_image

DIFFERENCE_STEP = 1e-2
"""Length of a finite difference relative to max(sigma_t, SMOOTHNESS) sqrt(n)."""
SMOOTHNESS = 0.05
"""Below this noise level images bend no faster, so the difference need not shrink with sigma_t."""


def scalings_at(denoiser: Callable[..., Tensor], sigma: Tensor) -> Scalings:
    """c_skip, c_out, c_in, c_noise; a plain callable is its own network: D = F(x; sigma)."""
    if isinstance(denoiser, ScaledDenoiser):
        return denoiser.scalings(sigma)
    one = torch.ones_like(sigma)
    return Scalings(skip=torch.zeros_like(sigma), out=one, input=one, noise=sigma)


class EagerRunner:
    """Holds the state x and the network input u = c_in x, and advances them.

    Args:
        denoiser: D, any callable; a `ScaledDenoiser` has its skip path taken out of the VJP.
        bracket: computes v from the network's output.
        x: (B, C, H, W) the initial state.
        jacobian: "vjp", "jvp" or "finite_difference".
        condition: keywords for the denoiser.
    """

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        bracket: Bracket,
        x: Tensor,
        *,
        jacobian: str = "vjp",
        condition: dict[str, object] | None = None,
    ) -> None:
        self.denoiser = denoiser
        self.bracket = bracket
        self.jacobian = jacobian
        self.condition = condition or {}
        self.x = x
        self.dtype = getattr(denoiser, "network_dtype", None) or x.dtype
        self.forwards = 0
        self.products = 0

    def set_level(self, level: Level) -> None:
        """Move to a noise level: its coefficients, and the network input of the present state."""
        self.level = level
        self.bracket.set_level(level)
        self.skip = column(level.scalings.skip, self.x)
        self.input = column(level.scalings.input, self.x)
        self.noise = level.scalings.noise.to(self.x.device, self.x.dtype)
        self.u = (self.input * self.x).to(self.dtype)

    def inner_step(self) -> None:
        """x <- x + J^T v: one forward, one Jacobian product, bracket and update."""
        with trace.range("inner step"):
            with trace.range("denoiser"):
                output, product = self._linearize()
            with trace.range("bracket"):
                v, cotangent = self.bracket(output, self.x)
            with trace.range("vjp"):
                gradient = product(cotangent)
            with trace.range("update"):
                self._update(v, gradient)
        self.forwards += 1
        self.products += 1

    def denoise(self) -> Tensor:
        """D(x, sigma_t) at the present state."""
        with trace.range("denoiser"), torch.no_grad():
            output = self._network(self.u)
        self.forwards += 1
        return denoised_image(self.level, self.x, output)

    def transition(self, denoised: Tensor, deviation: Tensor) -> None:
        """x <- D + deviation: the noise of VML-MAP, or DDIM's scaled residual."""
        with trace.range("transition"):
            self.x = denoised + deviation

    def _network(self, u: Tensor) -> Tensor:
        if isinstance(self.denoiser, ScaledDenoiser):
            return self.denoiser.raw(u, self.noise, **self.condition)
        return self.denoiser(u, self.noise, **self.condition)

    def _linearize(self) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        if self.jacobian == "vjp":
            return jacobian.vjp(self._network, self.u)
        if self.jacobian == "jvp":
            return jacobian.jvp(self._network, self.u)
        return jacobian.finite_difference(self._network, self.u, self._difference_step())

    def _difference_step(self) -> Tensor:
        elements = self.x[0].numel()
        step = DIFFERENCE_STEP * max(float(self.level.sigma), SMOOTHNESS) * elements**0.5
        return step * self.input.reshape(-1)

    def _update(self, v: Tensor, gradient: Tensor) -> None:
        self.x = self.x + self.skip * v + self.input * gradient.to(self.x.dtype)
        self.u = (self.input * self.x).to(self.dtype)
