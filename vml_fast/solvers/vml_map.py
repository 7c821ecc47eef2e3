"""VML-MAP: mode seeking on the variational mode-seeking loss (arXiv 2512.10524)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator
from vml_fast.ops.backends import check_backend
from vml_fast.preconditioners import check_preconditioner, check_prior_weight
from vml_fast.runtime.eager import EagerRunner, scalings_at
from vml_fast.runtime.fused import make_bracket
from vml_fast.runtime.jacobian import check_jacobian
from vml_fast.runtime.noise import Noise
from vml_fast.runtime.problem import Level, Problem
from vml_fast.schedules import SIGMA_MAX, SIGMA_MIN, check_schedule, edm_schedule
from vml_fast.solvers.base import (
    Callback,
    Clock,
    Result,
    State,
    check_count,
    check_image_shape,
    check_measurement,
    check_per_sample,
    progress_bar,
    show_state,
)


class VMLMAP:
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
        noise_std: float | Tensor = 0.0,
        steps: int = 20,
        inner_steps: int = 10,
        schedule: Tensor | Sequence[float] | None = None,
        preconditioner: str | None = "auto",
        prior_weight: float | str = "auto",
        step_size: float = 1.0,
        stop_sigma: float | Tensor | None = None,
        jacobian: str = "vjp",
        backend: str = "auto",
        final_projection: bool = False,
    ) -> None:
        check_image_shape(denoiser, operator)
        if not 0.0 < float(step_size) < float("inf"):
            raise InputError(f"step_size is {step_size!r}; it must be finite and above 0.")
        self.denoiser = denoiser
        self.operator = operator
        self.noise_std = noise_std
        self.steps = check_count("steps", steps, 1)
        self.inner_steps = check_count("inner_steps", inner_steps, 0)
        self.schedule = self._levels(schedule)
        self.preconditioner = check_preconditioner(preconditioner)
        self.prior_weight = check_prior_weight(prior_weight)
        self.step_size = float(step_size)
        self.stop_sigma = stop_sigma
        self.jacobian = check_jacobian(jacobian)
        self.backend = check_backend(backend)
        self.final_projection = final_projection

    def solve(
        self,
        y: Tensor,
        *,
        seed: int | Sequence[int] | Tensor = 0,
        sample_index: Sequence[int] | Tensor | None = None,
        operator: LinearOperator | None = None,
        condition: dict[str, Any] | None = None,
        initial: Tensor | None = None,
        callback: Callback | None = None,
        progress: bool = False,
        keep_images: bool = False,
    ) -> Result:
        """Restore a batch of measurements.

        Args:
            y: (B, *measurement_shape) float32 or float64; the state has its dtype and device.
            seed: an int or (B,): with the sample index the key of all random numbers of an image.
            sample_index: (B,), by default 0 ... B-1; a slice of a run passes the original indices.
            operator: another operator of the same structure, in place of the solver's.
            condition: keywords of the denoiser, for example {"class_labels": labels}.
            initial: (B, C, H, W) start at the first noise level, in place of sigma_1 times noise.
            callback: called with a `State` after each level; returning False ends the solve there.
            progress: show a progress bar with noise level and residual.
            keep_images: keep each level's denoised images in `Result.trace`.

        Returns:
            The restoration; see `Result`.

        Raises:
            InputError: y or another argument is of the wrong shape, dtype or range.
        """
        operator = self._same_structure(operator)
        y = check_measurement(y, operator)
        tau = self._stop_sigma(len(y))
        clock = Clock(y.device)
        noise = Noise(seed, sample_index, (len(y), *operator.image_shape), y)
        runner = self._runner(y, operator, self._start(initial, noise), condition)
        states: list[State] = []
        with trace.range("solve"), progress_bar(self._inner_steps_in_all(tau), progress) as bar:
            for i, sigma in enumerate(self.schedule):
                with trace.range("level"):
                    active = sigma > tau
                    runner.set_level(self._level(i, active, y))
                    for _ in range(self.inner_steps if bool(active.any()) else 0):
                        runner.inner_step()
                        bar.update()
                    denoised = runner.denoise()
                    state = State(i, float(sigma), operator.residual(denoised, y), denoised)
                    states.append(state if keep_images else replace(state, denoised=None))
                    show_state(bar, state)
                    if callback is not None and callback(state) is False:
                        break
                    if i + 1 < len(self.schedule):
                        self._transition(runner, i, tau, denoised, noise)
        image = self._finish(denoised, y, operator)
        return Result(
            image=image,
            residual=operator.residual(image, y),
            denoiser_calls=runner.forwards,
            vjp_calls=runner.products,
            seconds=clock.seconds(),
            trace=states,
        )

    def _transition(
        self, runner: EagerRunner, i: int, tau: Tensor, denoised: Tensor, noise: Noise
    ) -> None:
        """x ~ N(D, sigma_{i+1}^2 I), or DDIM for the samples whose next level is not optimized."""
        following = self.schedule[i + 1].expand(tau.shape)
        ddim = following <= tau
        ratio = torch.where(ddim, following / self.schedule[i], 0.0)
        runner.transition(denoised, ratio, torch.where(ddim, 0.0, following), noise, i + 1)

    def _runner(
        self,
        y: Tensor,
        operator: LinearOperator,
        x: Tensor,
        condition: dict[str, Any] | None,
    ) -> EagerRunner:
        sigma_y = check_per_sample("noise_std", self.noise_std, len(y))
        problem = Problem(
            operator,
            y,
            sigma_y,
            self.preconditioner,
            self.prior_weight,
            self.step_size,
            self.backend,
        )
        bracket = make_bracket(problem)
        return EagerRunner(self.denoiser, bracket, x, jacobian=self.jacobian, condition=condition)

    def _level(self, i: int, active: Tensor, y: Tensor) -> Level:
        sigma = self.schedule[i]
        scalings = scalings_at(self.denoiser, sigma.to(y.device).expand(len(y)))
        return Level(sigma, scalings, active.to(y.device))

    def _start(self, initial: Tensor | None, noise: Noise) -> Tensor:
        if initial is None:
            return self.schedule[0].to(noise.dtype) * noise.draw(0)
        if tuple(initial.shape) != noise.shape:
            raise InputError(f"initial has shape {tuple(initial.shape)}; it must be {noise.shape}.")
        return initial.to(noise.seed.device, noise.dtype)

    def _finish(self, denoised: Tensor, y: Tensor, operator: LinearOperator) -> Tensor:
        if not self.final_projection:
            return denoised
        return denoised + operator.pseudo_inverse(y - operator.forward(denoised))

    def _same_structure(self, operator: LinearOperator | None) -> LinearOperator:
        if operator is None:
            return self.operator
        if operator.structure != self.operator.structure:
            raise InputError(
                f"operator has structure {operator.structure}; "
                f"it must be the solver's, {self.operator.structure}."
            )
        return operator

    def _levels(self, schedule: Tensor | Sequence[float] | None) -> Tensor:
        if schedule is not None:
            return check_schedule(schedule)
        return edm_schedule(
            self.steps,
            sigma_min=max(SIGMA_MIN, getattr(self.denoiser, "sigma_min", SIGMA_MIN)),
            sigma_max=min(SIGMA_MAX, getattr(self.denoiser, "sigma_max", SIGMA_MAX)),
        )

    def _stop_sigma(self, batch: int) -> Tensor:
        """tau per sample, (B,) float64; below every level where there is none."""
        return check_per_sample(
            "stop_sigma", 0.0 if self.stop_sigma is None else self.stop_sigma, batch
        )

    def _inner_steps_in_all(self, tau: Tensor) -> int:
        return self.inner_steps * int((self.schedule > tau.min()).sum())
