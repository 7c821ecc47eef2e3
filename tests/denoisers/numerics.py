"""Errors over a batch, and gradients by differences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """||actual - expected|| / ||expected||, the largest over the batch."""
    difference = (actual.double() - expected.double()).flatten(1).norm(dim=1)
    return float((difference / expected.double().flatten(1).norm(dim=1)).max())


def finite_differences(
    function: Callable[[Tensor], Tensor], x: Tensor, step: Tensor | float = 1e-5
) -> Tensor:
    """The gradient of a (B,) function of x (B, ...), by central differences of step (B,)."""
    gradient = torch.zeros_like(x).flatten(1)
    for i in range(gradient.shape[1]):
        change = torch.zeros_like(gradient)
        change[:, i] = step
        change = change.reshape(x.shape)
        gradient[:, i] = (function(x + change) - function(x - change)) / (2 * step)
    return gradient.reshape(x.shape)
