"""Fast Walsh-Hadamard transform."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.ops.backends import register


def fwht(x: Tensor) -> Tensor:
    """The orthonormal Walsh-Hadamard transform along the last dimension, its own inverse.

    The order is the natural (Sylvester) one: H_2n = [[H_n, H_n], [H_n, -H_n]], scaled by
    1/sqrt(n). In that order the transform of a flattened h x w image is H_h X H_w.

    Args:
        x: (..., n), n a power of two, float32 or float64.

    Returns:
        Contiguous, of the shape and dtype of x.

    Raises:
        InputError: n is not a power of two.
    """
    n = x.shape[-1] if x.ndim else 0
    if n < 1 or n & (n - 1):
        raise InputError(f"the last dimension of x is {n}; fwht takes powers of two.")
    out = (x / math.sqrt(n)).contiguous()
    half = 1
    while half < n:
        pairs = out.view(-1, n // (2 * half), 2, half)
        first, second = pairs.unbind(2)
        out = torch.stack((first + second, first - second), 2)
        half *= 2
    return out.view(x.shape)


def fake(x: Tensor) -> Tensor:
    """The output's shape and strides."""
    return x.new_empty(x.shape)


OP = register("fwht", fwht, fake=fake)
