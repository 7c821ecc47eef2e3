"""The eager runner: one inner step at a time, nothing captured."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.denoisers.base import ScaledDenoiser, Scalings, per_image
from vml_fast.ops import resolve
from vml_fast.runtime import jacobian
from vml_fast.runtime.bracket import Bracket
from vml_fast.runtime.noise import Noise
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
        self.x = x.clone()
        self.dtype = getattr(denoiser, "network_dtype", None) or x.dtype
        backend = bracket.problem.backend
        self.update = resolve("update", backend, x.device, x.dtype)
        self.diffuse = resolve("transition", backend, x.device, x.dtype)
        self.forwards = 0
        self.products = 0

    def set_level(self, level: Level) -> None:
        """Move to a noise level: its coefficients, and the network input of the present state."""
        self.level = level
        self.bracket.set_level(level)
        c_skip, c_in = level.scalings.skip.to(self.x), level.scalings.input.to(self.x)
        self.noise = level.scalings.noise.to(self.x)
        self.input = c_in
        self.step_coefficients = torch.stack((c_skip, c_in), dim=1)
        self.u = (per_image(c_in, self.x) * self.x).to(self.dtype)

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
                self.update(self.x, v, gradient, self.u, self.step_coefficients)
        self.forwards += 1
        self.products += 1

    def denoise(self) -> Tensor:
        """D(x, sigma_t) at the present state."""
        with trace.range("denoiser"), torch.no_grad():
            output = self._network(self.u)
        self.forwards += 1
        return denoised_image(self.level, self.x, output)

    def transition(
        self, denoised: Tensor, ratio: Tensor, sigma: Tensor, noise: Noise, draw: int
    ) -> None:
        """x <- D + ratio (x - D) + sigma n, each sample by its own ratio and sigma.

        Args:
            denoised: (B, C, H, W) D.
            ratio: (B,) sigma_{i+1} / sigma_i for DDIM, else 0.
            sigma: (B,) sigma_{i+1} for fresh noise, else 0.
            noise: the seeds and sample indices that key n.
            draw: index of the draw.
        """
        with trace.range("transition"):
            mean = denoised
            if bool((ratio != 0).any()):
                mean = torch.addcmul(denoised, column(ratio, denoised), self.x - denoised)
            counter = torch.tensor([draw], device=self.x.device)
            self.x = self.diffuse(mean, sigma.to(self.x), noise.seed, noise.sample, counter)

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
        return step * self.input
