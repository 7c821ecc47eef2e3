"""VML-MAP: mode seeking on the variational mode-seeking loss (arXiv 2512.10524)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.arrays import Array
from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator
from vml_fast.preconditioners import check_preconditioner, check_prior_weight
from vml_fast.runtime.eager import EagerRunner
from vml_fast.runtime.fused import make_bracket
from vml_fast.runtime.jacobian import check_jacobian
from vml_fast.runtime.problem import Problem
from vml_fast.solvers.base import Run, Solver
from vml_fast.solvers.checks import check_count, check_per_sample


class VMLMAP(Solver):
    """Restores images by gradient descent on the VML loss at N noise levels, K steps each.

    At every level sigma_1 > ... > sigma_N:

        repeat K times: x <- x + J^T V( alpha (U^T y - s V^T D) + beta V^T (D - x) )
        x ~ N( D(x, sigma_i), sigma_{i+1}^2 I )

    with alpha and beta as in `vml_fast.preconditioners`. Levels with sigma_i <= stop_sigma are not
    optimized; from the last optimized one on, the transition is DDIM's
    x <- D + (sigma_{i+1} / sigma_i)(x - D).

    Args:
        denoiser: D(x, sigma) in variance-exploding coordinates, any callable.
        operator: H.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), at least 0.
        steps: N, at least 1; ignored when `schedule` is given.
        inner_steps: K, at least 0.
        schedule: (N,) noise levels, strictly decreasing; by default EDM's, clipped to the range
            of the denoiser.
        preconditioner: None, "auto" (pseudo-inverse up to sigma_y = 1e-4, else noise-aware),
            "pseudo_inverse" or "noise_aware".
        prior_weight: pull towards the denoised image on the null space of H, preconditioned forms
            only, in [0, 1]: 0 keeps sample-like detail, 1 gives the smooth mode, "auto" follows
            sigma_y.
        step_size: dimensionless multiplier of the stable step, above 0.
        stop_sigma: tau, one number or (B,); None optimizes every level.
        jacobian: "vjp" (exact), "jvp" or "finite_difference" (both use that J is symmetric).
        backend: of the fused ops: "auto" (the fastest measured one that runs here), "reference",
            "cpp", "triton" or "cuda".
        final_projection: replace x by x + H^+(y - H x) at the end (sensible without noise only).

    Raises:
        InputError: an argument is outside its range.
        BackendUnavailable: `backend` names one that cannot run here (raised by `solve`).
    """

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        operator: LinearOperator,
        *,
        noise_std: float | Array = 0.0,
        steps: int = 20,
        inner_steps: int = 10,
        schedule: Array | Sequence[float] | None = None,
        preconditioner: str | None = "auto",
        prior_weight: float | str = "auto",
        step_size: float = 1.0,
        stop_sigma: float | Array | None = None,
        jacobian: str = "vjp",
        backend: str = "auto",
        final_projection: bool = False,
    ) -> None:
        super().__init__(
            denoiser,
            operator,
            noise_std=noise_std,
            steps=steps,
            schedule=schedule,
            backend=backend,
        )
        if not 0.0 < float(step_size) < float("inf"):
            raise InputError(f"step_size is {step_size!r}; it must be finite and above 0.")
        self.inner_steps = check_count("inner_steps", inner_steps, 0)
        self.preconditioner = check_preconditioner(preconditioner)
        self.prior_weight = check_prior_weight(prior_weight)
        self.step_size = float(step_size)
        self.stop_sigma = stop_sigma
        self.jacobian = check_jacobian(jacobian)
        self.final_projection = final_projection

    def _restore(self, run: Run) -> tuple[Tensor, int, int]:
        levels = self.schedule
        tau = self._tau(len(run.y))
        run.bar.reset(total=self.inner_steps * int((levels > tau.min()).sum()))
        runner = self._runner(run)
        for i, sigma in enumerate(levels):
            with trace.range("level"):
                active = sigma > tau
                runner.set_level(self._level(sigma, active, run))
                for _ in range(self.inner_steps if bool(active.any()) else 0):
                    runner.inner_step()
                    run.bar.update()
                denoised = runner.denoise()
                if not run.record(i, sigma, denoised) or i + 1 == len(levels):
                    break
                # x ~ N(D, sigma_{i+1}^2 I), or DDIM for samples whose next level is not optimized
                ddim = levels[i + 1] <= tau
                ratio = torch.where(ddim, levels[i + 1] / sigma, 0.0)
                fresh = torch.where(ddim, 0.0, levels[i + 1])
                runner.transition(denoised, ratio, fresh, run.noise, draw=i + 1)
        if self.final_projection:
            error = run.y - run.operator.forward(denoised)
            denoised = denoised + run.operator.pseudo_inverse(error)
        return denoised, runner.forwards, runner.products

    def _runner(self, run: Run) -> EagerRunner:
        problem = Problem(
            run.operator,
            run.y,
            run.noise_std,
            self.preconditioner,
            self.prior_weight,
            self.step_size,
            self.backend,
        )
        return EagerRunner(
            self.denoiser,
            make_bracket(problem),
            run.start(self.schedule[0]),
            jacobian=self.jacobian,
            condition=run.condition,
        )

    def _tau(self, batch: int) -> Tensor:
        """stop_sigma of each sample, (B,) float64; below every level where there is none."""
        tau = 0.0 if self.stop_sigma is None else self.stop_sigma
        return check_per_sample("stop_sigma", tau, batch)
