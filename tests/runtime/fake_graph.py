"""CUDA graphs acted on the CPU: operations are recorded with their memory, and run again there.

As with a real graph, no Python runs at a replay: every operation reads and writes the memory that
it did when it was recorded, and nothing that was computed outside is computed again. Recording
leaves no trace in memory that lay there before, and an operation that reads from the device, which
a real recording cannot hold, is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from vml_fast.errors import BackendUnavailable
from vml_fast.runtime import choose, graph, runners

SYNCHRONIZING = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "unique_dim")


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(tree: Any) -> list[Tensor]:
    """Those that have memory: forward mode has zeros without any."""
    leaves = tree_flatten(tree)[0]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and not leaf._is_zerotensor()]


class Recorder(TorchDispatchMode):
    """Records every operation that is more than a view."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Callable[[], None]] = []
        self.names: list[str] = []
        self.new: set[int] = set()
        self.kept: list[Any] = []  # the memory of a recording stays its own
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[-1]
        if name in SYNCHRONIZING:
            raise BackendUnavailable(f"the inner step cannot be recorded: it calls {name}")
        inputs = _tensors((args, kwargs))
        self._remember(func, args, kwargs)
        result = func(*args, **kwargs)
        outputs = _tensors(result)
        given = {_address(tensor) for tensor in inputs}
        fresh = [tensor for tensor in outputs if _address(tensor) not in given]
        writes = any(a.alias_info and a.alias_info.is_write for a in func._schema.arguments)
        self.new |= {_address(tensor) for tensor in fresh}
        self.kept.append((args, kwargs, result))
        if fresh or writes:
            self.names.append(name)
            self.operations.append(lambda: self._again(func, args, kwargs, fresh, given))
        return result

    def _again(
        self, func: Any, args: Any, kwargs: Any, fresh: list[Tensor], given: set[int]
    ) -> None:
        again = [t for t in _tensors(func(*args, **kwargs)) if _address(t) not in given]
        for old, new in zip(fresh, again, strict=True):
            old.copy_(new)

    def _remember(self, func: Any, args: Any, kwargs: Any) -> None:
        """What an operation will overwrite, if it lay there before the recording."""
        schema = func._schema.arguments
        for argument, value in [
            *zip(schema, args, strict=False),
            *((a, kwargs[a.name]) for a in schema if a.name in kwargs),
        ]:
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            for tensor in _tensors(value):
                if _address(tensor) not in self.new and _address(tensor) not in self.before:
                    whole = tensor.new_empty(0).set_(tensor.untyped_storage())
                    self.before[_address(tensor)] = (whole, whole.clone())

    def restore(self) -> None:
        """Undo what the recording wrote."""
        for tensor, value in self.before.values():
            tensor.copy_(value)


class FakeGraphs:
    """Stands in for the functions of `vml_fast.runtime.graph` that speak to CUDA.

    Attributes:
        recorded: the names of the operations of each recording.
        replays: how often any was replayed.
        eager: how often a function ran as it is.
    """

    def __init__(self) -> None:
        self.recorded: list[list[str]] = []
        self.replays = 0
        self.eager = 0

    def record(self, function: Callable[[], Any], pool: Any) -> tuple[Callable[[], None], Any]:
        """As `graph.record`."""
        recorder = Recorder()
        with recorder:
            result = function()
        recorder.restore()
        self.recorded.append(recorder.names)

        def replay() -> None:
            self.replays += 1
            with torch.no_grad():
                for operation in recorder.operations:
                    operation()

        return replay, result

    def on_side_stream(self, function: Callable[[], Any], device: torch.device) -> Any:
        """As `graph.on_side_stream`."""
        self.eager += 1
        return function()


@contextmanager
def fake_graphs() -> Iterator[FakeGraphs]:
    """Let `cuda_graph=True` record on the CPU."""
    fake = FakeGraphs()
    obstacle = choose.recording_obstacle
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "record", fake.record)
        patch.setattr(graph, "on_side_stream", fake.on_side_stream)
        patch.setattr(graph, "new_pool", lambda: None)
        patch.setattr(choose, "graph_obstacle", lambda job: obstacle(job.problem))
        yield fake


@pytest.fixture(name="graphs")
def fresh_graphs() -> Iterator[FakeGraphs]:
    """Fake graphs, with no recording kept from before or for after."""
    runners.recorded.clear()
    with fake_graphs() as fake:
        yield fake
    runners.recorded.clear()
