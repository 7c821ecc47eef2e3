"""The compiled network: `torch.compile` of its forward and VJP as one joint graph.

AOTAutograd traces F and its VJP together and splits them at the cotangent, so the bracket stays one
op between two compiled halves. With the bracket inside, as one graph without a split, an inner step
of emoji64 gained 15 % on a CPU instead of 11 %: not worth a second form of every bracket.

Noise levels, conditions and coefficients are tensors, so a solve compiles once: the forward with
its VJP, and the forward alone. Compiled code is kept by `vml_fast.runtime.cache` in this process
and by torch on disk, in the folder TORCHINDUCTOR_CACHE_DIR, for the next one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import types
import warnings
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from vml_fast.errors import BackendUnavailable, one_line
from vml_fast.runtime.cache import SharedCache
from vml_fast.runtime.network import Denoiser, Network, check_output, raw_output

MODES: dict[str, str] = {"cuda": "max-autotune-no-cudagraphs"}
"""Device to the mode of `torch.compile`: CUDA graphs are recorded around the whole inner step."""

CAPACITY = 16
"""How many compiled networks a process keeps; a network at another batch size counts anew."""


def obstacle(device: torch.device, jacobian: str) -> str | None:
    """Why a network cannot be compiled here, or None."""
    if jacobian == "jvp":
        return "torch.compile has no forward mode for jacobian='jvp'; the two others are compiled"
    if device.type == "cuda":
        missing = importlib.util.find_spec("triton") is None
        return "the package triton is not installed" if missing else None
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"there is no C++ compiler {compiler!r} (the variable CXX names another)"
    return None


class CompiledForward:
    """The function (denoiser, u, c_noise, condition) -> F, compiled; it holds no denoiser.

    Attributes:
        prepared: the Jacobian products that its code is there for.
    """

    def __init__(self, device: torch.device) -> None:
        # A code object of its own: torch counts recompilations, and keeps code, per code object.
        own = types.FunctionType(raw_output.__code__.replace(), raw_output.__globals__)
        mode = MODES.get(device.type)
        self._call = torch.compile(own, fullgraph=True, dynamic=False, mode=mode)
        self.prepared: set[str] = set()

    def __call__(self, *arguments: Any) -> Tensor:
        """F."""
        return self._call(*arguments)


_compiled: SharedCache[CompiledForward] = SharedCache(CAPACITY)


def is_compiled(denoiser: Denoiser, product: str, key: Hashable) -> bool:
    """Whether this process has compiled a network for these shapes already."""
    forward = _compiled.find(denoiser, key)
    return forward is not None and product in forward.prepared


class CompiledNetwork(Network):
    """F in compiled form.

    Args:
        denoiser: D, any callable; of a `ScaledDenoiser` the network alone.
        product: "vjp" or "finite_difference".
        key: what the compiled code depends on besides the denoiser: shapes, dtypes, device.
        device: where it runs.

    Attributes:
        compiled: False where compiling failed and was not insisted on; then F runs as it is.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        product: str,
        key: Hashable,
        device: torch.device,
        *,
        insist: bool = True,
    ) -> None:
        super().__init__(denoiser, product)
        self.insist = insist
        self.compiled = True
        self.forward = _compiled.get(denoiser, key, lambda: CompiledForward(device))

    @property
    def is_ready(self) -> bool:  # type: ignore[override]
        """Whether the code is there."""
        return not self.compiled or self.product in self.forward.prepared

    def prepare(self, u: Tensor) -> None:
        """Compile for inputs like `u`.

        Raises:
            BackendUnavailable: torch cannot compile the network, which was insisted on.
        """
        try:
            output, product = self.linearize(u)
            product(torch.zeros_like(output))  # compiled by its first call
            with torch.no_grad():
                self(u)
        except compiler_errors() as error:
            self._give_up(error)
        if self.compiled:
            self.forward.prepared.add(self.product)

    def __call__(self, u: Tensor) -> Tensor:
        """F(u).

        Raises:
            BackendUnavailable: torch cannot compile the network (again: it may have changed since),
                which was insisted on.
        """
        if self.compiled:
            try:
                output = self.forward(self.denoiser, u, self.noise, self.condition)
            except compiler_errors() as error:
                self._give_up(error)
            else:
                return check_output(output, self.denoiser, u)
        return super().__call__(u)

    def _give_up(self, error: Exception) -> None:
        """Run as it is from here on, with a warning, or raise."""
        reason = one_line(error)
        if self.insist:
            raise BackendUnavailable(f"torch cannot compile the network: {reason}") from error
        warnings.warn(f"the network is not compiled: {reason}", stacklevel=3)
        self.compiled = False


def compiler_errors() -> tuple[type[Exception], ...]:
    """What torch raises where it cannot compile; its modules are slow to import."""
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler, OperatorIssue

    return (
        TorchDynamoException,
        FailOnRecompileLimitHit,
        CppCompileError,
        InvalidCxxCompiler,
        OperatorIssue,
    )
