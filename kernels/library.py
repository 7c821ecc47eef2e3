"""Makes a launcher an operator of PyTorch, and starts kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

NAMESPACE = "vml_fast_triton"


def operator(
    *, fake: Callable[..., Any], mutates: Iterable[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a launcher: one operator, opaque to `torch.compile`, on the device of its tensors.

    Args:
        fake: shapes, dtypes and strides of the outputs.
        mutates: names of the arguments that the launcher overwrites.

    Returns:
        A decorator; the operator is registered as `vml_fast_triton::<name of the launcher>`.
    """

    def decorate(launcher: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(launcher)
        def on_device(*arguments: Any, **named: Any) -> Any:
            first = next(a for a in arguments if isinstance(a, Tensor))
            if not first.is_cuda:
                return launcher(*arguments, **named)
            with torch.cuda.device(first.device):
                return launcher(*arguments, **named)

        name = f"{NAMESPACE}::{launcher.__name__}"
        op = torch.library.custom_op(name, on_device, mutates_args=tuple(mutates))
        op.register_fake(fake)
        return op

    return decorate


def launch(kernel: Any, programs: int, *arguments: Any, num_warps: int, **constants: Any) -> None:
    """Start `programs` programs of a Triton kernel on the current stream; none for empty tensors.

    Args:
        kernel: a function decorated with `triton.jit`.
        programs: how many.
        arguments: tensors, numbers and named tuples of them.
        num_warps: per program.
        constants: the kernel's compile-time constants.
    """
    if programs > 0:
        kernel[(programs,)](*arguments, num_warps=num_warps, enable_fp_fusion=True, **constants)


def fake_bracket(raw: Tensor, x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    """The outputs of every bracket: v like x, the cotangent like raw."""
    return torch.empty_like(x), torch.empty_like(raw)
