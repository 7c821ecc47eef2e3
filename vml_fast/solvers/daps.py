"""DAPS: decoupled annealing posterior sampling (Zhang et al., CVPR 2025, arXiv 2407.01521)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.arrays import Array
from vml_fast.checks import check_count, check_number
from vml_fast.operators.base import LinearOperator
from vml_fast.runtime.inverse import squared_norms
from vml_fast.runtime.problem import column
from vml_fast.runtime.sampling import Sampling, ddim
from vml_fast.schedules import edm_schedule
from vml_fast.solvers.base import Solver
from vml_fast.solvers.run import Run

ANNEALING_RANGE = (0.1, 100.0)
"""sigma of the last and the first level of the annealing."""
ODE_END = 0.01
"""sigma at which the probability-flow ODE takes its last estimate."""
LEAST_LIKELIHOOD_STD = 1e-3
"""A smaller sigma_y would leave Langevin steps too short to move."""


class DAPS(Solver):
    """Samples p(x0 | x_t, y) at every noise level and re-noises it to the next one.

    Algorithm 1 of the paper. At each level sigma_t of an annealing from 100 to .1:

        x0_hat   the end of the probability-flow ODE from (x_t, sigma_t), by Euler steps (one
                 forward each)
        x0       Langevin steps from x0_hat on N(x0_hat, sigma_t^2 I) times the likelihood of y,
                 x0 <- x0 - h ( (x0 - x0_hat) / sigma_t^2 - H^T (y - H x0) / beta_y^2 ) + sqrt(2h) n
        x        x0 + sigma_{t-1} n

    The Langevin step h falls linearly with the level from `step_size` to `step_decay` times it.
    It is kept below 1 / (1 / sigma_t^2 + s_max^2 / beta_y^2), where the paper's values already are
    for s_max = 1, so that every operator is stable. The result is the last x0. The authors' code of
    before March 2025 is this; since then it leaves out the likelihood's 1/2.

    Args:
        denoiser: D(x, sigma) in variance-exploding coordinates, any callable.
        operator: H; only H, H^T and s_max are used.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), in [0, 1e6]; used
            where `likelihood_std` is None.
        steps: N, at least 1; ignored when `schedule` is given.
        schedule: (N,) noise levels, strictly decreasing; by default EDM's spacing from 100 to .1,
            clipped to the range of the denoiser.
        ode_steps: forwards per level, at least 1; one is x0_hat = D.
        langevin_steps: at least 0.
        step_size: h at the first level, above 0.
        step_decay: in (0, 1].
        likelihood_std: beta_y, above 0; the authors' .01 is below the sigma_y = .05 of their
            tasks. None takes sigma_y, but at least .001: the likelihood of the model.
        backend: of the op that adds noise: "auto", "reference", "cpp", "triton" or "cuda".

    Raises:
        InputError: an argument is outside its range.
        BackendUnavailable: `backend` names one that cannot run here (raised by `solve`).
    """

    jacobian = "none"

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        operator: LinearOperator,
        *,
        noise_std: float | Array = 0.0,
        steps: int = 200,
        schedule: Array | Sequence[float] | None = None,
        ode_steps: int = 5,
        langevin_steps: int = 100,
        step_size: float = 1e-4,
        step_decay: float = 0.01,
        likelihood_std: float | None = 0.01,
        backend: str = "auto",
    ) -> None:
        super().__init__(
            denoiser,
            operator,
            noise_std=noise_std,
            steps=steps,
            schedule=schedule,
            backend=backend,
        )
        infinity = float("inf")
        self.ode_steps = check_count("ode_steps", ode_steps, 1)
        self.langevin_steps = check_count("langevin_steps", langevin_steps, 0)
        self.step_size = check_number("step_size", step_size, 0, infinity, low_open=True)
        self.step_decay = check_number("step_decay", step_decay, 0, 1, low_open=True)
        self.likelihood_std = likelihood_std
        if likelihood_std is not None:
            check_number("likelihood_std", likelihood_std, 0, infinity, low_open=True)

    def _default_levels(self, sigma_min: float, sigma_max: float) -> Tensor:
        low, high = ANNEALING_RANGE
        high = min(high, sigma_max)
        return edm_schedule(self.steps, sigma_min=min(max(low, sigma_min), high), sigma_max=high)

    def _restore(self, run: Run) -> tuple[Tensor, int, int]:
        levels = self.schedule
        run.expect(len(levels))
        sampling = self._sampling(run)
        langevin = Langevin(self._beta(run.noise_std), run, sampling)
        x = run.start(levels[0])
        draw = 1
        for i, sigma in enumerate(levels):
            with trace.range("level"):
                estimate = self._ode_end(x, sigma, sampling)
                x0 = langevin(estimate, sigma, self.langevin_step(i), self.langevin_steps, draw)
                draw += self.langevin_steps + 1
                run.bar.update()
                if not run.record(i, sigma, x0) or i + 1 == len(levels):
                    break
                x = sampling.diffuse(x0, levels[i + 1], draw=draw - 1)
        return x0, sampling.forwards, 0

    def langevin_step(self, level: int) -> float:
        """h at a level, 0 the first, before it is bounded."""
        return self.step_size * (1.0 + level / len(self.schedule) * (self.step_decay - 1.0))

    def _ode_end(self, x: Tensor, sigma: Tensor, sampling: Sampling) -> Tensor:
        """x0_hat: Euler steps of dx = (x - D) dsigma / sigma, the last one down to 0."""
        top = float(sigma)
        levels = edm_schedule(self.ode_steps, sigma_min=min(ODE_END, top), sigma_max=top)
        for now, following in pairwise(levels):
            x, *_ = ddim(x, sampling.denoise(self.denoiser, x, now), now, following, eta=0.0)
        return sampling.denoise(self.denoiser, x, levels[-1])

    def _beta(self, noise_std: Tensor) -> Tensor:
        if self.likelihood_std is None:
            return noise_std.clamp_min(LEAST_LIKELIHOOD_STD)
        return torch.full_like(noise_std, self.likelihood_std)


class Langevin:
    """Langevin steps on N(x0; x0_hat, sigma^2 I) N(y; H x0, beta^2 I), unadjusted (Eq. 9)."""

    def __init__(self, beta: Tensor, run: Run, sampling: Sampling) -> None:
        self.operator, self.y, self.sampling = run.operator, run.y, sampling
        self.beta = beta.to(run.y.device)
        self.norms = squared_norms(run.operator, run.y.device)

    def __call__(
        self, estimate: Tensor, sigma: Tensor, step: float, count: int, draw: int
    ) -> Tensor:
        """A sample after `count` steps from x0_hat, from draws `draw`, ..., draw + count - 1."""
        curvature = 1.0 / sigma.to(self.beta) ** 2 + self.norms / self.beta**2
        h = (1.0 / curvature).clamp_max(step)
        prior = column(h / sigma.to(h) ** 2, estimate)
        likelihood = column(h / self.beta**2, estimate)
        x = estimate
        for j in range(count):
            pull = self.operator.adjoint(self.y - self.operator.forward(x))
            mean = x + prior * (estimate - x) + likelihood * pull
            x = self.sampling.diffuse(mean, (2.0 * h).sqrt(), draw=draw + j)
        return x
