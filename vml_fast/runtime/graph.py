"""The graph runner: the whole inner step recorded as one CUDA graph and replayed N x K times.

The first inner steps of a solve run as they are, on a side stream, which loads what the libraries
load at first use. Then `EagerRunner.step` is recorded, which runs nothing, and replayed from there
on, at every noise level: the levels only write other numbers into the memory that it reads. The
denoiser call that ends a level is a second recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from vml_fast.errors import BackendUnavailable, one_line
from vml_fast.runtime.bracket import Bracket
from vml_fast.runtime.eager import EagerRunner
from vml_fast.runtime.fused import make_bracket
from vml_fast.runtime.network import Network
from vml_fast.runtime.problem import Problem

WARM_UPS = {"step": 3, "estimate": 1}
"""How often each function runs on a side stream before it is recorded."""

T = TypeVar("T")


def new_pool() -> Any:
    """Memory for recordings that never run at the same time."""
    return torch.cuda.graph_pool_handle()


def record(function: Callable[[], T], pool: Any) -> tuple[Callable[[], None], T]:
    """Record a function as a CUDA graph, without running it.

    Other threads may go on using the device meanwhile.

    Returns:
        What replays it, and its result, which a replay overwrites.

    Raises:
        BackendUnavailable: it does what a graph cannot hold, such as reading from the device.
    """
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            result = function()
    except RuntimeError as error:
        raise BackendUnavailable(f"the inner step cannot be recorded: {one_line(error)}") from error
    return graph.replay, result


def on_side_stream(function: Callable[[], T], device: torch.device) -> T:
    """Run a function on another stream, in order with the present one."""
    main, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(main)
    with torch.cuda.stream(side):
        result = function()
    main.wait_stream(side)
    if isinstance(result, Tensor):
        result.record_stream(main)
    return result


class Recording(Generic[T]):
    """A function on memory that stays in place: run a few times, recorded, then replayed.

    Args:
        function: takes nothing; its result is a tensor or None.
        device: where it runs.
        pool: memory that recordings share which never run at the same time.
        warm_ups: how often it runs on a side stream before it is recorded.
    """

    def __init__(
        self, function: Callable[[], T], device: torch.device, pool: Any, warm_ups: int
    ) -> None:
        self.function = function
        self.device = device
        self.pool = pool
        self.left = warm_ups
        self._replay: Callable[[], None] | None = None
        self._result: T

    @property
    def is_next(self) -> bool:
        """Whether the next call would record."""
        return self._replay is None and self.left == 0

    def record(self) -> None:
        """Record the function, without running it."""
        self._replay, self._result = record(self.function, self.pool)

    def __call__(self) -> T:
        """The function; its result holds until the next call."""
        if self._replay is not None:
            self._replay()
            return self._result
        self.left = max(0, self.left - 1)
        return on_side_stream(self.function, self.device)


class GraphRunner(EagerRunner):
    """Replays the step and the denoiser call of `EagerRunner`; other arguments as there.

    Args:
        problem: what the bracket is made for; its operator is copied.
        make: makes the bracket.
        insist: raise where the step cannot be recorded; else warn, and run it as it is.

    Attributes:
        recordable: False where recording failed.

    Raises:
        BackendUnavailable: (by `inner_step` and `denoise`) the step cannot be recorded.
    """

    def __init__(
        self,
        network: Network,
        problem: Problem,
        x: Tensor,
        make: Callable[[Any], Bracket] = make_bracket,
        *,
        condition: Mapping[str, Any] | None = None,
        insist: bool = True,
    ) -> None:
        static = replace(problem, operator=problem.operator.static_copy())
        super().__init__(network, make(static), x, condition=condition)
        self.insist = insist
        self.recordable = True
        pool = new_pool()
        self._step = Recording(self.step, x.device, pool, WARM_UPS["step"])
        self._estimate = Recording(self.estimate, x.device, pool, WARM_UPS["estimate"])

    def load(self, problem: Problem, x: Tensor, condition: Mapping[str, Any]) -> None:
        """Begin another solve of the same structure: its numbers are copied in."""
        operator = self.bracket.problem.operator.copy_(problem.operator)
        super().load(replace(problem, operator=operator), x, condition)

    def _run_step(self) -> None:
        self._record_if_due(self._step)
        self._step()

    def _run_estimate(self) -> Tensor:
        self._record_if_due(self._estimate)
        return self._estimate().clone()

    def _record_if_due(self, recording: Recording[Any]) -> None:
        if not (recording.is_next and self.recordable):
            return
        try:
            with self.warm_up("recording a CUDA graph"):
                recording.record()
        except BackendUnavailable as error:
            if self.insist:
                raise
            warnings.warn(str(error), stacklevel=2)
            self.recordable = False
