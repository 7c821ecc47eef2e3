"""Derivatives of a denoiser, whatever the modes of the caller and of other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

P = ParamSpec("P")
R = TypeVar("R")


def differentiating(function: Callable[P, R]) -> Callable[P, R]:
    """A function that takes derivatives inside of `torch.inference_mode`, too.

    That mode keeps no graph even under `enable_grad`, so that every network would pass for a
    constant one. The function runs outside of it, and tensors made in it are copied.
    """

    @wraps(function)
    def outside(*args: P.args, **keywords: P.kwargs) -> R:
        with _outside_inference_mode():
            plain: list[Any] = [_usual(value) for value in args]
            named: dict[str, Any] = {name: _usual(value) for name, value in keywords.items()}
            return function(*plain, **named)

    return outside


@contextmanager
def _outside_inference_mode() -> Iterator[None]:
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def _usual(value: Any) -> Any:
    """A tensor (or those of a dictionary) that a graph may hold."""
    if isinstance(value, dict):
        return {name: _usual(one) for name, one in value.items()}
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def pullback(output: Tensor, leaf: Tensor, cotangent: Tensor, **options: Any) -> Tensor:
    """J^T c for output(leaf); zeros where the output does not depend on the leaf.

    Args:
        output: what was computed from the leaf.
        leaf: a tensor that requires gradients.
        cotangent: c, shaped like the output.
        **options: of `torch.autograd.grad`.
    """
    if not output.requires_grad:
        return torch.zeros_like(leaf)
    (product,) = torch.autograd.grad(output, leaf, cotangent, allow_unused=True, **options)
    return torch.zeros_like(leaf) if product is None else product


class _MathAttention:
    """Keeps the plain form of attention as long as any thread needs it.

    The choice is one of the process. Were each thread to restore what it found, the last of two
    that overlap would leave the fast kernels off for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._choice: AbstractContextManager[None]

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._choice = sdpa_kernel(SDPBackend.MATH)
                self._choice.__enter__()
            self._users += 1

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._choice.__exit__(None, None, None)


math_attention = _MathAttention()
"""A context in which attention takes the form that has second and forward-mode derivatives."""
