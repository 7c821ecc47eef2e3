"""How close a network comes to the arithmetic peak of the device: FLOPs, and a measured peak."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.machine import DEVICE
from benchmarks.timing import seconds_of

SIDE = {"cuda": 8192, "cpu": 1024}
"""Of the square matrices whose product shows the peak."""
PRODUCTS = 10


class _Counter(TorchDispatchMode):
    """Adds up the operations of every call, by torch's own formulas.

    (torch's FlopCounterMode follows modules too, which fails within `torch.autograd.grad`.)
    """

    total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def floating_point_operations(call: Callable[[], Any]) -> int:
    """Of the matrix products, convolutions and attentions in a call, a multiply-add being two."""
    with _Counter() as counter:
        call()
    return int(counter.total)


@functools.cache
def peak_flops(dtype: torch.dtype) -> float:
    """Measured: FLOP/s of a large matrix product, as PyTorch computes it by default."""
    side = SIDE[DEVICE]
    a, b = (torch.randn(side, side, device=DEVICE).to(dtype) for _ in range(2))
    a @ b
    fastest = min(seconds_of(lambda: a @ b) for _ in range(PRODUCTS))
    return 2 * side**3 / fastest
