"""One solve under way, of a batch or of a part of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vml_fast.arrays import Array
from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator
from vml_fast.runtime.footprint import rows
from vml_fast.runtime.noise import Noise
from vml_fast.solvers.checks import check_per_sample
from vml_fast.solvers.result import Callback, State


@dataclass
class Observer:
    """Who looks on while a batch is solved, part by part.

    Attributes:
        callback: called with a `State` after each level of each part.
        bar: progress, one tick per gradient step.
        keep_images: whether records keep their denoised images.
        give: hands a tensor to the caller, in the array kind of y.
        parts: how many parts the batch has.
        last_level: where the callback has ended the solve: for the parts that follow, too.
    """

    callback: Callback | None
    bar: tqdm
    keep_images: bool
    give: Callable[[Tensor], Array]
    parts: int = 1
    last_level: float = float("inf")


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
        watch: callback and progress.
        samples: which samples of the caller's batch these are.
        total: how many the caller's batch has.
        states: the records so far, in tensors.
        warmup_seconds: time spent on compiling and recording.
        announced: when something was last announced.
        autoencoder_calls: passes of an autoencoder, per image.
    """

    y: Tensor
    operator: LinearOperator
    noise_std: Tensor
    noise: Noise
    condition: dict[str, Any]
    initial: Tensor | None
    watch: Observer
    samples: slice
    total: int
    states: list[State] = field(default_factory=list)
    warmup_seconds: float = 0.0
    announced: float = 0.0
    autoencoder_calls: int = 0

    @property
    def bar(self) -> tqdm:
        """Progress, one tick per gradient step."""
        return self.watch.bar

    def part(self, samples: slice) -> Run:
        """The same for some of the samples."""
        return replace(
            self,
            y=self.y[samples],
            operator=self.operator.select(samples),
            noise_std=self.noise_std[samples],
            noise=self.noise.part(samples),
            condition=rows(self.condition, samples, self.total),
            initial=None if self.initial is None else self.initial[samples],
            samples=samples,
            states=[],
        )

    def expect(self, steps: int) -> None:
        """Say how many ticks this part will make."""
        if self.samples.start in (None, 0):
            self.bar.reset(total=steps * self.watch.parts)

    def announce(self, what: str) -> None:
        """Show what is being prepared on the bar; "" when that is done.

        The time in between is a warm-up, which the bar's pace and remaining time leave out.
        """
        now = time.time()  # the clock of the bar
        if not what:
            self.warmup_seconds += now - self.announced
            if not self.bar.disable:
                self.bar.start_t += now - self.announced
        self.announced = now
        self.bar.set_description(what, refresh=True)

    def per_sample(self, name: str, values: float | Array) -> Tensor:
        """A noise level of each sample, (B,) float64, from the caller's for the whole batch."""
        return check_per_sample(name, values, self.total)[self.samples]

    def start(self, sigma: Tensor) -> Tensor:
        """The state at the first noise level: the caller's, or sigma times draw 0."""
        if self.initial is None:
            return sigma.to(self.noise.dtype) * self.noise.draw(0)
        return self.initial.to(self.y)

    def check_initial(self) -> None:
        """The caller's start has the shape of the images, and is finite."""
        if self.initial is not None and tuple(self.initial.shape) != self.noise.shape:
            raise InputError(
                f"initial has shape {tuple(self.initial.shape)}; it must be {self.noise.shape}."
            )
        if self.initial is not None and not bool(torch.isfinite(self.initial).all()):
            raise InputError("initial holds NaN or infinite entries; all must be finite.")

    def record(self, level: int, sigma: Tensor, denoised: Tensor) -> bool:
        """Note a finished level; False where the solve ends with it."""
        watch, residual = self.watch, self.operator.residual(denoised, self.y)
        state = State(level, float(sigma), residual, denoised, self.samples)
        self.states.append(state if watch.keep_images else replace(state, denoised=None))
        if not self.bar.disable:
            mean = float(residual.mean())
            self.bar.set_postfix(sigma=f"{state.sigma:.3g}", residual=f"{mean:.2e}")
        if watch.callback is not None:
            given = replace(state, residual=watch.give(residual), denoised=watch.give(denoised))
            if watch.callback(given) is False:
                watch.last_level = min(watch.last_level, level)
        return level < watch.last_level


def merged_trace(runs: Sequence[Run], give: Callable[[Tensor], Array]) -> list[State]:
    """The records of all parts as those of one batch; a part that has ended keeps its last."""
    levels = max(len(run.states) for run in runs)
    return [
        _merged([run.states[min(i, len(run.states) - 1)] for run in runs], i, give)
        for i in range(levels)
    ]


def _merged(states: Sequence[Any], level: int, give: Callable[[Tensor], Array]) -> State:
    first = states[0]
    images = None if first.denoised is None else give(joined([s.denoised for s in states]))
    sigma = max(s.sigma for s in states if s.level == level)
    return State(level, sigma, give(joined([s.residual for s in states])), images)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The parts as one batch; a single one as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
