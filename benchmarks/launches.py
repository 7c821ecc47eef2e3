"""Counts what one inner step launches besides the network, from a profiler trace.

    python -m benchmarks.launches

writes `launches.json` into the records of this machine. On a CPU a launch is an operation that is
not part of another one; on a GPU it is a kernel, a copy or a fill on the device. The network is one
pointwise function, so that its own share is one launch forward and one backward.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.machine import DEVICE, RESULTS, backends, machine_record, machine_tag
from vml_fast.denoisers.edm import EDMDenoiser
from vml_fast.operators.base import LinearOperator
from vml_fast.operators.tasks import task
from vml_fast.runtime.eager import EagerRunner
from vml_fast.runtime.fused import make_bracket
from vml_fast.runtime.network import Network, scalings_at
from vml_fast.runtime.problem import Level, Problem

TASKS = (
    "random70",
    "sr4",
    "colorize",
    "deblur-motion",
    "deblur-gauss",
    "sr4-bicubic",
    "walsh-hadamard",
)
IMAGE_SHAPE = (3, 32, 32)
BATCH = 2
VIEWS = {
    f"aten::{name}"
    for name in (
        "alias", "as_strided", "detach", "expand", "reshape", "select", "to", "transpose",
        "unbind", "unsqueeze", "view",
    )
}  # fmt: skip
"""Operations that, where no other is inside them, launch nothing: the same memory, seen anew."""
ALLOCATIONS = ("aten::empty", "aten::resize")
STEP = "one inner step"


def network(u: Tensor, c_noise: Tensor) -> Tensor:
    """A network of one operation; its backward pass is one too."""
    return torch.tanh(u)


def make_runner(operator: LinearOperator, *, noise_std: float, backend: str) -> EagerRunner:
    """A runner in the middle of a solve."""
    denoiser = EDMDenoiser(network, IMAGE_SHAPE)
    x = torch.randn(BATCH, *IMAGE_SHAPE, device=DEVICE)
    sigma = torch.tensor(0.5, dtype=torch.float64)
    problem = Problem(
        operator=operator,
        y=operator.forward(x),
        noise_std=torch.full((BATCH,), noise_std, dtype=torch.float64),
        preconditioner="auto",
        prior_weight="auto",
        step_size=1.0,
        backend=backend,
    )
    runner = EagerRunner(Network(denoiser), make_bracket(problem), x)
    scalings = scalings_at(denoiser, sigma.to(DEVICE).expand(BATCH))
    runner.set_level(Level(sigma, scalings, torch.ones(BATCH, device=DEVICE)))
    return runner


def launched(step: Callable[[], None]) -> list[str]:
    """Names of what `step` launches, in order; the network included, and allocations on a CPU.

    Args:
        step: run a few times before the trace, so that plans, caches and graphs are made.
    """
    for _ in range(3):
        step()
    activities = [ProfilerActivity.CPU]
    if DEVICE == "cuda":
        activities.append(ProfilerActivity.CUDA)
        torch.cuda.synchronize()
    with profile(activities=activities) as trace:
        with record_function(STEP):
            step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
    events = sorted(trace.events(), key=lambda event: event.time_range.start)
    if DEVICE == "cuda":
        return [e.name for e in events if e.device_type == DeviceType.CUDA and e.name != STEP]
    operations = [event for event in events if _is_op(event)]
    busy = [e for e in operations if e.name not in VIEWS]
    outermost = {id(list(_line(e))[-1]) for e in busy}
    return [event.name for event in operations if id(event) in outermost]


def _is_op(event: Any) -> bool:
    return event.name.startswith(("aten::", "vml_fast::"))


def _line(event: Any) -> Iterator[Any]:
    """The operation and those around it, from the inside out."""
    while event is not None:
        if _is_op(event):
            yield event
        event = event.cpu_parent


def besides_network(names: list[str]) -> int:
    """How many launches are not the network's, which is `tanh` in the names of kernels too."""
    return sum("tanh" not in name and not name.startswith(ALLOCATIONS) for name in names)


def count_launches() -> list[dict[str, Any]]:
    """The launches of one inner step for every task, noiseless and noisy, on every backend."""
    rows = []
    for name in TASKS:
        for noise_std in (0.0, 0.05):
            for backend in backends():
                operator = task(name, IMAGE_SHAPE)
                runner = make_runner(operator, noise_std=noise_std, backend=backend)
                count = besides_network(launched(runner.inner_step))
                row = {"task": name, "noise_std": noise_std, "backend": backend, "launches": count}
                rows.append(row)
    return rows


def main() -> None:
    """Write the record of this machine."""
    parser = argparse.ArgumentParser(description="Count the launches of one inner step.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    folder = parser.parse_args().results / machine_tag()
    folder.mkdir(parents=True, exist_ok=True)
    rows = count_launches()
    text = json.dumps({"machine_info": machine_record(), "launches": rows}, indent=1)
    (folder / "launches.json").write_text(text + "\n", encoding="utf-8")
    for row in rows:
        print(*row.values())


if __name__ == "__main__":
    main()
