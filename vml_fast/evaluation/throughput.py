"""How fast a solve is on each rung of the ladder of accelerations."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vml_fast.denoisers import accelerate
from vml_fast.errors import one_line
from vml_fast.evaluation.ladder import KEYS, Ladder, Rung
from vml_fast.evaluation.memory import in_use, peak_bytes
from vml_fast.evaluation.timing import seconds_of
from vml_fast.evaluation.workload import Workload
from vml_fast.solvers import Result

EXACT, ROUNDED = 1e-4, 0.1
"""Largest relative RMS difference of images to the reference's: in float32 on a CPU, and where
bfloat16 or TF32 rounds every product."""

Say = Callable[[str], object]


@dataclass
class Measurement:
    """What one rung took.

    Attributes:
        rung: which.
        seconds: of one whole solve, one per repeat.
        first_seconds: of preparing the network and the first solve.
        extra_bytes: the most memory that a solve takes on top of what was held before the rung was
            prepared (the prior itself); None where the system does not tell.
        difference: relative RMS difference of the images to the reference's.
    """

    rung: Rung
    seconds: list[float] = field(default_factory=list)
    first_seconds: float = 0.0
    extra_bytes: int | None = None
    difference: float = 0.0

    @property
    def median(self) -> float:
        """Seconds of a solve."""
        return statistics.median(self.seconds)

    @property
    def warm_up_seconds(self) -> float:
        """What the first solve took longer: conversion, compilation, capture, caches."""
        return max(0.0, self.first_seconds - self.median)


@dataclass(frozen=True)
class Timings:
    """The whole ladder on one workload.

    Attributes:
        measured: the rungs that ran, the reference first.
        left_out: key of every other one to the reason.
        batch: B.
        total_steps: inner steps of a solve, N K.
    """

    measured: list[Measurement]
    left_out: dict[str, str]
    batch: int
    total_steps: int

    def rows(self) -> list[dict[str, Any]]:
        """One record per rung, as JSON."""
        reference = self.measured[0]
        return [
            {
                "key": found.rung.key,
                "label": found.rung.label,
                "seconds": found.median,
                "repeats": found.seconds,
                "speed_up": paired_ratio(reference.seconds, found.seconds),
                "images_per_second": self.batch / found.median,
                "milliseconds_per_inner_step": 1e3 * found.median / self.total_steps,
                "warm_up_seconds": found.warm_up_seconds,
                "extra_bytes": found.extra_bytes,
                "difference": found.difference,
            }
            for found in self.measured
        ]


def paired_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median of the ratios of measurements that were made in turn.

    A slow minute of the machine hits both of a pair, where a ratio of medians may compare times of
    different minutes.
    """
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def prepare(workload: Workload, rung: Rung, backend: str = "auto") -> Callable[[], Tensor]:
    """The solve of a rung, ready to run: a function that returns the images.

    Args:
        workload: what is solved.
        rung: how.
        backend: of the fused ops, the network's too.
    """
    if rung.is_reference:
        return workload.reference
    denoiser = workload.denoiser
    if rung.dtype is not None:
        denoiser = accelerate(denoiser, rung.dtype, backend=backend)
    solver = workload.solver(
        denoiser, backend=backend, compile=rung.compile, cuda_graph=rung.cuda_graph
    )

    def solve() -> Tensor:
        result: Result = solver.solve(workload.y)
        return torch.as_tensor(result.image)

    return solve


def relative_difference(found: Tensor, truth: Tensor) -> float:
    """RMS of the difference over the RMS of the truth."""
    return float((found.double() - truth.double()).norm() / truth.double().norm())


def tolerance(rung: Rung, device: torch.device) -> float:
    """How far the images of a rung may be from the reference's."""
    return EXACT if device.type == "cpu" and rung.dtype in (None, "float32") else ROUNDED


def compare(
    workload: Workload,
    chosen: Ladder,
    *,
    repeats: int,
    backend: str = "auto",
    say: Say = lambda text: None,
) -> Timings:
    """Time every rung; the repeats of all of them alternate.

    A rung whose images differ from the reference's, or that cannot run, is left out with the
    reason.

    Args:
        workload: what is solved.
        chosen: which rungs.
        repeats: timed solves of each, at least 1.
        backend: of the fused ops.
        say: told what is going on.
    """
    device = workload.y.device
    left_out = dict(chosen.left_out)
    running: list[tuple[Measurement, Callable[[], Tensor]]] = []
    truth: Tensor | None = None
    for rung in chosen.rungs:
        say(f"{rung.label}: first solve")
        try:
            measurement, solve, image = first(workload, rung, truth, backend)
        except RuntimeError as error:  # out of memory, or the compiler's own
            if rung.is_reference:
                raise
            left_out[rung.key] = one_line(error)
            continue
        truth = image if truth is None else truth
        if not measurement.difference <= tolerance(rung, device):
            left_out[rung.key] = f"its images differ by {measurement.difference:.1e}"
            continue
        running.append((measurement, solve))
    for repeat in range(repeats):
        for measurement, solve in running:
            say(f"{measurement.rung.label}: {repeat + 1} of {repeats}")
            measurement.seconds.append(seconds_of(solve, device))
    total_steps = workload.steps * workload.inner_steps
    ordered = {key: left_out[key] for key in KEYS if key in left_out}
    return Timings([found for found, _ in running], ordered, workload.batch, total_steps)


def first(
    workload: Workload, rung: Rung, truth: Tensor | None = None, backend: str = "auto"
) -> tuple[Measurement, Callable[[], Tensor], Tensor]:
    """Prepare a rung, solve once to warm up and once more for its memory.

    Args:
        workload: what is solved.
        rung: how.
        truth: images of the reference; None where the rung is the reference.
        backend: of the fused ops.

    Returns:
        What is known before any timing, the solve, and its images.
    """
    device = workload.y.device
    before = in_use(device)
    kept: list[Any] = []

    def begin() -> None:
        kept.append(prepare(workload, rung, backend))
        kept.append(kept[0]())

    measurement = Measurement(rung, first_seconds=seconds_of(begin, device))
    solve, image = kept
    peak = peak_bytes(solve, device)
    if before is not None and peak is not None:
        measurement.extra_bytes = max(0, peak - before)
    measurement.difference = 0.0 if truth is None else relative_difference(image, truth)
    return measurement, solve, image
