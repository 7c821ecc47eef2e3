"""What every solver shares: its arguments, its noise levels, its progress and its records."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vml_fast import trace
from vml_fast.arrays import Array, as_tensor, back_to
from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator
from vml_fast.ops.backends import check_backend
from vml_fast.runtime.network import scalings_at
from vml_fast.runtime.noise import Noise
from vml_fast.runtime.problem import Level
from vml_fast.schedules import SIGMA_MAX, SIGMA_MIN, check_schedule, edm_schedule
from vml_fast.solvers.checks import (
    check_count,
    check_image_shape,
    check_measurement,
    check_per_sample,
)
from vml_fast.solvers.result import Callback, Result, State


@dataclass
class Run:
    """One solve under way.

    Attributes:
        y: (B, *measurement_shape) measurement; the state has its dtype and device.
        operator: H.
        noise_std: (B,) float64 sigma_y, on the CPU.
        noise: the random numbers.
        condition: keywords of the denoiser.
        initial: (B, C, H, W) start at the first noise level, or None.
        callback: called with a `State` after each level.
        bar: progress, one tick per gradient step.
        keep_images: whether records keep their denoised images.
        give: hands a tensor to the caller, in the array kind of y.
        states: the records so far.
    """

    y: Tensor
    operator: LinearOperator
    noise_std: Tensor
    noise: Noise
    condition: dict[str, Any]
    initial: Tensor | None
    callback: Callback | None
    bar: tqdm
    keep_images: bool
    give: Callable[[Tensor], Array]
    states: list[State] = field(default_factory=list)

    def start(self, sigma: Tensor) -> Tensor:
        """The state at the first noise level: the caller's, or sigma times draw 0."""
        if self.initial is None:
            return sigma.to(self.noise.dtype) * self.noise.draw(0)
        if tuple(self.initial.shape) != self.noise.shape:
            raise InputError(
                f"initial has shape {tuple(self.initial.shape)}; it must be {self.noise.shape}."
            )
        return self.initial.to(self.y)

    def record(self, level: int, sigma: Tensor, denoised: Tensor) -> bool:
        """Note a finished level; False where the callback wants to stop."""
        residual = self.operator.residual(denoised, self.y)
        state = State(level, float(sigma), self.give(residual), self.give(denoised))
        self.states.append(state if self.keep_images else replace(state, denoised=None))
        self.bar.set_postfix(sigma=f"{state.sigma:.3g}", residual=f"{float(residual.mean()):.2e}")
        return self.callback is None or self.callback(state) is not False


class Solver(ABC):
    """A method that restores y = H x + sigma_y n with a denoiser as its prior.

    Args:
        denoiser: D(x, sigma) in variance-exploding coordinates, any callable.
        operator: H.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), at least 0.
        steps: N, the number of noise levels, at least 1; ignored when `schedule` is given.
        schedule: (N,) noise levels, strictly decreasing; by default EDM's, clipped to the range
            of the denoiser.
        backend: of the fused ops: "auto" (the fastest measured one that runs here), "reference",
            "cpp", "triton" or "cuda".
    """

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        operator: LinearOperator,
        *,
        noise_std: float | Array,
        steps: int,
        schedule: Array | Sequence[float] | None,
        backend: str,
    ) -> None:
        check_image_shape(denoiser, operator)
        self.denoiser = denoiser
        self.operator = operator
        self.noise_std = noise_std
        self.steps = check_count("steps", steps, 1)
        self.schedule = self._levels(schedule)
        self.backend = check_backend(backend)

    def solve(
        self,
        y: Array,
        *,
        seed: int | Sequence[int] | Array = 0,
        sample_index: Sequence[int] | Array | None = None,
        operator: LinearOperator | None = None,
        condition: dict[str, Any] | None = None,
        initial: Array | None = None,
        callback: Callback | None = None,
        progress: bool = False,
        keep_images: bool = False,
    ) -> Result:
        """Restore a batch of measurements.

        Every array may be of torch, NumPy or CuPy, and the results are of the kind of y: memory is
        shared where it can be (`vml_fast.arrays`). The denoiser always sees torch tensors.

        Args:
            y: (B, *measurement_shape) float32 or float64; the state has its dtype and device (the
                CPU for NumPy).
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
            BackendUnavailable: the solver's backend was named and cannot run here.
        """
        start = time.perf_counter()
        operator = self._same_structure(operator)
        give = back_to(y)
        y = check_measurement(y, operator)
        noise = Noise(seed, sample_index, (len(y), *operator.image_shape), y)
        noise_std = check_per_sample("noise_std", self.noise_std, len(y))
        with trace.range("solve"), tqdm(disable=not progress, unit="step", leave=False) as bar:
            run = Run(
                y=y,
                operator=operator,
                noise_std=noise_std,
                noise=noise,
                condition=condition or {},
                initial=None if initial is None else as_tensor(initial, "initial"),
                callback=callback,
                bar=bar,
                keep_images=keep_images,
                give=give,
            )
            image, forwards, products = self._restore(run)
        if y.is_cuda:
            torch.cuda.synchronize(y.device)
        return Result(
            image=give(image),
            residual=give(operator.residual(image, y)),
            denoiser_calls=forwards,
            vjp_calls=products,
            seconds=time.perf_counter() - start,
            trace=run.states,
        )

    @abstractmethod
    def _restore(self, run: Run) -> tuple[Tensor, int, int]:
        """The method itself: the image, and how many forwards and Jacobian products it took."""

    def _level(self, sigma: Tensor, active: Tensor, run: Run) -> Level:
        """The denoiser's coefficients at a noise level; `active` (B,) says who is optimized."""
        scalings = scalings_at(self.denoiser, sigma.to(run.y.device).expand(len(run.y)))
        return Level(sigma, scalings, active.to(run.y.device))

    def _levels(self, schedule: Array | Sequence[float] | None) -> Tensor:
        if schedule is not None:
            return check_schedule(schedule)
        return self._default_levels(
            getattr(self.denoiser, "sigma_min", SIGMA_MIN),
            getattr(self.denoiser, "sigma_max", SIGMA_MAX),
        )

    def _default_levels(self, sigma_min: float, sigma_max: float) -> Tensor:
        """The method's own noise levels within the range of the denoiser."""
        return edm_schedule(
            self.steps, sigma_min=max(SIGMA_MIN, sigma_min), sigma_max=min(SIGMA_MAX, sigma_max)
        )

    def _same_structure(self, operator: LinearOperator | None) -> LinearOperator:
        if operator is None:
            return self.operator
        if operator.structure != self.operator.structure:
            raise InputError(
                f"operator has structure {operator.structure}; "
                f"it must be the solver's, {self.operator.structure}."
            )
        return operator
