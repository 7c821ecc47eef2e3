"""DPS: diffusion posterior sampling (Chung et al., ICLR 2023, arXiv 2209.14687)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.arrays import Array
from vml_fast.checks import check_number
from vml_fast.operators.base import LinearOperator
from vml_fast.runtime.choose import Wish, check_wish
from vml_fast.runtime.problem import column
from vml_fast.runtime.sampling import ddim
from vml_fast.schedules import ddpm_schedule
from vml_fast.solvers.base import Solver
from vml_fast.solvers.run import Run


class DPS(Solver):
    """Samples by DDPM's ancestral steps, each followed by a step down the measurement's misfit.

    Algorithm 1 (Gaussian noise) of the paper, with D = E[x0 | x_t] and the step size divided by
    the misfit of each sample, so that no sample feels the others:

        x_s = ancestral sample from (x_t, D) - zeta grad |y - H D|

    The gradient is with respect to the variance-preserving state; in the variance-exploding
    coordinates of this package that is a factor sqrt((1 + sigma_t^2)(1 + sigma_s^2)). The measure
    of the misfit is its norm over the observed entries, so zeta = 1 moves an image by about 1 in
    norm per step whatever its size, and smaller images need a smaller zeta. sigma_y plays no part.
    The authors' code differs from the paper: it clips D to [-1, 1], takes the network's variance,
    and counts what y holds at hidden pixels, noise alone, in the norm.

    Args:
        denoiser: D(x, sigma) in variance-exploding coordinates, any callable.
        operator: H; only H and H^T are used.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), in [0, 1e6];
            checked, but the method has no use for it.
        steps: N, at least 1; ignored when `schedule` is given.
        schedule: (N,) noise levels, strictly decreasing; by default equally spaced time steps of
            DDPM's linear schedule, clipped to the range of the denoiser.
        zeta: step size, at least 0; the paper takes .3 to 1.
        backend: of the op that adds noise: "auto", "reference", "cpp", "triton" or "cuda".
        compile: the network by `torch.compile`: True, False, or "auto" where that is known to pay.

    Raises:
        InputError: an argument is outside its range.
        BackendUnavailable: (by `solve`) `backend` names one that cannot run here, or `compile` is
            True and cannot be; the message says why.
    """

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        operator: LinearOperator,
        *,
        noise_std: float | Array = 0.0,
        steps: int = 1000,
        schedule: Array | Sequence[float] | None = None,
        zeta: float = 1.0,
        backend: str = "auto",
        compile: Wish = "auto",
    ) -> None:
        super().__init__(
            denoiser,
            operator,
            noise_std=noise_std,
            steps=steps,
            schedule=schedule,
            backend=backend,
        )
        self.zeta = check_number("zeta", zeta, 0, float("inf"))
        self.compile = check_wish("compile", compile)

    def _default_levels(self, sigma_min: float, sigma_max: float) -> Tensor:
        return ddpm_schedule(self.steps, sigma_min=sigma_min, sigma_max=sigma_max)

    def _restore(self, run: Run) -> tuple[Tensor, int, int]:
        levels = torch.cat([self.schedule, self.schedule.new_zeros(1)])
        run.expect(len(self.schedule))
        sampling = self._sampling(run)
        x = run.start(levels[0])
        for i, (sigma, following) in enumerate(pairwise(levels)):
            with trace.range("level"):
                denoised, product = sampling.linearize(self.denoiser, x, sigma)
                if not run.record(i, sigma, denoised):
                    return denoised, sampling.forwards, sampling.products
                descent = product(_toward(run.operator, run.y, denoised))
                mean, _, spread = ddim(x, denoised, sigma, following, eta=1.0)
                zeta = self.zeta * ((1.0 + sigma**2) * (1.0 + following**2)).sqrt()
                x = sampling.diffuse(mean + column(zeta, x) * descent, spread, draw=i + 1)
                run.bar.update()
        return x, sampling.forwards, sampling.products


def _toward(operator: LinearOperator, y: Tensor, denoised: Tensor) -> Tensor:
    """Minus the gradient of |y - H D| with respect to D, per sample; 0 where y is met exactly."""
    error = y - operator.forward(denoised)
    observed = operator._observed(error)
    if observed is not None:
        error = observed * error
    norm = error.flatten(1).norm(dim=1)
    scale = torch.where(norm > 0, 1.0 / norm, 0.0)
    return operator.adjoint(column(scale, error) * error)
