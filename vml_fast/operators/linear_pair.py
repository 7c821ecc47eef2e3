"""A linear map and its transpose as one differentiable function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


class LinearPair(torch.autograd.Function):
    """Apply a linear map whose derivative is known: the transpose backward, the map itself forward.

    Neither map has to be differentiable by autograd, and derivatives of any order work.
    """

    @staticmethod
    def forward(x: Tensor, apply: Map, transpose: Map) -> Tensor:
        """Apply the map."""
        return apply(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Remember both maps; nothing of the tensors is needed."""
        _, ctx.apply_map, ctx.transpose_map = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Apply the transpose to the gradient."""
        return LinearPair.apply(gradient, ctx.transpose_map, ctx.apply_map), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        """Apply the map to the tangent."""
        return LinearPair.apply(tangent, ctx.apply_map, ctx.transpose_map)
