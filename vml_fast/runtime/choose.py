"""Which runner takes a solve: what was asked for, or what is known to pay.

"auto" never makes a job slower than eager PyTorch would run it, a short first one least of all:

* A **CUDA graph** costs little: the first inner steps of the solve itself are its warm-up, and
  recording one more takes about as long as launching one. From `GRAPH_FROM` inner steps on it is
  recorded. Arbitrary callables are not, since a replay would not call them again.
* **Compiling** takes minutes. Code that this process has already is used where it is known to be
  faster (`GAIN`). New code is made only where an earlier, eager solve of the same kind in this
  process has shown its pace, and what this job would save at that pace is more than `MARGIN` times
  what compiling takes (as measured in this process, else `COMPILE_SECONDS`). So a first job is
  always eager.

An explicit True that cannot run raises, with the reason; False is never overruled.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from vml_fast.denoisers.base import ScaledDenoiser
from vml_fast.errors import BackendUnavailable, InputError
from vml_fast.runtime import compiled
from vml_fast.runtime.bracket import recording_obstacle
from vml_fast.runtime.cache import SharedCache
from vml_fast.runtime.network import Denoiser
from vml_fast.runtime.problem import Problem

Wish = bool | Literal["auto"]

GRAPH_FROM = 12
"""Inner steps of a solve from which a graph is recorded: the first three are its warm-up."""

GAIN: dict[str, float] = {"cpu": 1.08}
"""Eager time over compiled time of an inner step, by device; where it was not measured, "auto" does
not compile. CPU: emoji64 with its norms fused in C++, float32, batch 2, one thread, torch 2.13;
with the norms left to the compiler 1.01, and compiling took ten times as long."""

COMPILE_SECONDS = 120.0
"""What compiling a U-Net takes where this process has not measured it: emoji64, two cores."""

MARGIN = 2.0
"""How many times the cost of compiling has to be saved by it."""


@dataclass
class Pace:
    """What this process has seen of one kind of solve.

    Attributes:
        eager_step: seconds of an inner step in eager PyTorch.
        compiling: seconds that compiling took.
        failed: which of "compile" and "cuda_graph" was tried by "auto" in vain.
    """

    eager_step: float | None = None
    compiling: float | None = None
    failed: set[str] = field(default_factory=set)


_paces: SharedCache[Pace] = SharedCache(64)


@dataclass(frozen=True)
class Job:
    """A solve, as far as the choice of its runner depends on it.

    Attributes:
        denoiser: D.
        problem: H, y and how the step is preconditioned.
        x: the initial state.
        jacobian: "vjp", "jvp" or "finite_difference".
        condition: keywords of the denoiser.
        total_steps: how many inner steps it will take.
        prior: another denoiser that every step calls, or the same once more; None where none does.
    """

    denoiser: Denoiser
    problem: Problem
    x: Tensor
    jacobian: str
    condition: Mapping[str, Any]
    total_steps: int
    prior: Denoiser | None = None

    @property
    def denoisers(self) -> tuple[Denoiser, ...]:
        """All that an inner step calls."""
        return (self.denoiser,) if self.prior is None else (self.denoiser, self.prior)

    @property
    def network_key(self) -> Hashable:
        """Equal for jobs whose networks compute the same with other numbers."""
        condition = tuple((name, _structure(v)) for name, v in sorted(self.condition.items()))
        return (tuple(self.x.shape), self.x.dtype, self.x.device, self.jacobian, condition)

    @property
    def key(self) -> Hashable:
        """Equal for jobs whose inner steps do, as long as the weights stay where they are."""
        weights = tuple(_weights(denoiser) for denoiser in self.denoisers)
        return (self.problem.structure, self.network_key, weights)

    @property
    def pace(self) -> Pace:
        """What is known of jobs like this."""
        return _paces.get(self.denoiser, self.network_key, Pace)


@dataclass(frozen=True)
class Choice:
    """How a job is run.

    Attributes:
        compile: with a compiled network.
        cuda_graph: by replaying a recording.
        insisted: which of the two were asked for, so that failing is an error.
    """

    compile: bool
    cuda_graph: bool
    insisted: frozenset[str] = frozenset()


def check_wish(name: str, wish: object) -> Wish:
    """The wish itself, or one sentence on what can be wished."""
    if wish is True or wish is False or wish == "auto":
        return wish
    raise InputError(f"{name} is {wish!r}; it must be 'auto', True or False.")


def choose(job: Job, compile: Wish, cuda_graph: Wish) -> Choice:
    """Decide how a job is run.

    Raises:
        BackendUnavailable: True was asked for and cannot be; the message says why.
    """
    obstacles = {
        "compile": compiled.obstacle(job.x.device, job.jacobian),
        "cuda_graph": None if cuda_graph is False else graph_obstacle(job),
    }
    wishes = {"compile": compile, "cuda_graph": cuda_graph}
    insisted = frozenset(name for name, wish in wishes.items() if wish is True)
    for name in sorted(insisted):
        if obstacles[name]:
            raise BackendUnavailable(f"{name}=True cannot be had: {obstacles[name]}.")
    pays = {"compile": _compiling_pays, "cuda_graph": _graph_pays}
    chosen = {
        name: wish is True or (wish == "auto" and obstacles[name] is None and pays[name](job))
        for name, wish in wishes.items()
    }
    return Choice(chosen["compile"], chosen["cuda_graph"], insisted)


def graph_obstacle(job: Job) -> str | None:
    """Why the inner step of a job cannot be recorded as a CUDA graph, or None."""
    if job.x.device.type != "cuda":
        return f"y is on {job.x.device} and CUDA graphs run on CUDA devices"
    for name, value in job.condition.items():
        if not isinstance(value, Tensor | str | int | float | bool | None):
            return f"condition {name} is a {type(value).__name__}, which cannot be copied in"
    return recording_obstacle(job.problem)


def _graph_pays(job: Job) -> bool:
    known = all(
        isinstance(denoiser, ScaledDenoiser) and isinstance(denoiser.network, nn.Module)
        for denoiser in job.denoisers
    )
    known = known and "cuda_graph" not in job.pace.failed
    return known and job.problem.operator.has_svd and job.total_steps >= GRAPH_FROM


def _compiling_pays(job: Job) -> bool:
    gain = GAIN.get(job.x.device.type, 1.0)
    if gain <= 1.0 or "compile" in job.pace.failed:
        return False
    if compiled.is_compiled(job.denoiser, job.jacobian, job.network_key):
        return True
    pace = job.pace
    if pace.eager_step is None:
        return False
    saved = job.total_steps * pace.eager_step * (1.0 - 1.0 / gain)
    return saved > MARGIN * (pace.compiling or COMPILE_SECONDS)


def _structure(value: object) -> Hashable:
    if isinstance(value, Tensor):
        return (tuple(value.shape), value.dtype)
    return (type(value).__name__, repr(value))


def _weights(denoiser: Denoiser) -> Hashable:
    """Where the weights lie: a recording reads them there."""
    if not isinstance(denoiser, nn.Module):
        return ()
    tensors = (*denoiser.parameters(), *denoiser.buffers())
    return tuple(tensor.data_ptr() for tensor in tensors)
