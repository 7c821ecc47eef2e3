"""Whole solves of VML-MAP against `vml_fast.reference`, with the embedded prior in float32.

N = 20 and K = 10 on a GPU; fewer levels and steps on a CPU, where every inner step takes the same
time anyway. Rounds of the two alternate.
"""

from __future__ import annotations

import statistics
from typing import Any

import pytest
import torch
from torch import Tensor

import vml_fast as vf
from benchmarks.cases import chosen_set
from benchmarks.gate import relative_error
from benchmarks.machine import DEVICE, backends, machine_record
from benchmarks.timing import seconds_of

TASKS = ("sr4", "deblur-motion")
TOLERANCE = 1e-4
"""Relative to the largest entry: what float32 may differ by after a whole solve."""
ROUNDS = 3
BACKENDS = [name for name in backends() if name != "reference"] if DEVICE == "cuda" else ["auto"]


@pytest.fixture(scope="module")
def prior() -> Any:
    """The embedded prior, which takes diffusers."""
    pytest.importorskip("diffusers")
    return vf.load_denoiser("emoji64", device=DEVICE)


@pytest.fixture
def measurement(batch: int, task: str, prior: Any) -> tuple[vf.operators.LinearOperator, Tensor]:
    """H and y = H x of smooth random images: the time does not depend on what they show."""
    coarse = torch.randn(batch, 3, 4, 4, device=DEVICE)
    image = torch.nn.functional.interpolate(coarse, size=prior.image_shape[1:], mode="bilinear")
    operator = vf.operators.task(task, prior.image_shape)
    return operator, operator.forward(image.clamp(-1, 1))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch", [8])
@pytest.mark.parametrize("task", TASKS)
def test_solve(
    benchmark: Any,
    request: pytest.FixtureRequest,
    prior: Any,
    measurement: tuple[vf.operators.LinearOperator, Tensor],
    backend: str,
) -> None:
    operator, y = measurement
    steps, inner_steps = (20, 10) if DEVICE == "cuda" else (3, 3)
    if chosen_set(request.config) == "tiny":
        y, steps, inner_steps = y[:1], 2, 1
    solver = vf.VMLMAP(prior, operator, steps=steps, inner_steps=inner_steps, backend=backend)

    def reference() -> Tensor:
        with torch.enable_grad():
            return vf.reference.vml_map(prior, operator, y, steps=steps, inner_steps=inner_steps)

    # TF32 would round both results by more than they may differ
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        assert relative_error(solver.solve(y).image, reference()) <= TOLERANCE
        slow: list[float] = []
        benchmark.group = "solve"
        benchmark.pedantic(
            lambda: solver.solve(y),
            rounds=ROUNDS,
            teardown=lambda: slow.append(seconds_of(reference)),
        )
    if not benchmark.enabled:
        return
    seconds, baseline = benchmark.stats.stats.median, statistics.median(slow)
    benchmark.extra_info.update(
        machine_record(),
        steps=steps,
        inner_steps=inner_steps,
        batch=len(y),
        images_per_second=len(y) / seconds,
        milliseconds_per_inner_step=1e3 * seconds / (steps * inner_steps),
        baseline_seconds=baseline,
        speed_up=baseline / seconds,
    )
