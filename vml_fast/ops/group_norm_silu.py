"""GroupNorm + scale-shift + SiLU in one op, with a backward to the input alone (frozen weights)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import group_norm, silu

from vml_fast.ops.backends import register
from vml_fast.ops.coefficients import like


def group_norm_silu(
    x: Tensor,
    num_groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float = 1e-5,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    activation: bool = True,
) -> Tensor:
    """silu( GroupNorm(x) (1 + scale) + shift ), differentiable in x (Wu & He, ECCV 2018).

    Statistics and arithmetic are float32 (float64 for float64 x). The compiled versions pass no
    gradient to anything but x: weights are frozen, and scale and shift do not depend on the image.

    Args:
        x: (B, C, H, W), any floating dtype and memory format.
        num_groups: divides C.
        weight: (C,), any floating dtype.
        bias: (C,), likewise.
        eps: added to the variance, > 0.
        scale: (B, C) of the scale-shift (FiLM) variant, or None for 0.
        shift: (B, C), or None for 0.
        activation: False leaves out SiLU.

    Returns:
        (B, C, H, W) in the dtype and memory format of x.
    """
    normalized = group_norm(x, num_groups, weight.to(x.dtype), bias.to(x.dtype), eps)
    if scale is not None:
        normalized = normalized * (1 + scale.to(x.dtype)[..., None, None])
    if shift is not None:
        normalized = normalized + shift.to(x.dtype)[..., None, None]
    return silu(normalized) if activation else normalized


def _precise(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _affine(
    x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    """w (1 + scale) and b (1 + scale) + shift, (B | 1, C, 1, 1), as precise as the statistics."""
    dtype = _precise(x)
    gain, offset = weight.to(dtype)[None], bias.to(dtype)[None]
    if scale is not None:
        gain, offset = gain * (1 + scale.to(dtype)), offset * (1 + scale.to(dtype))
    if shift is not None:
        offset = offset + shift.to(dtype)
    return gain[..., None, None], offset[..., None, None]


def group_norm_silu_forward(
    x: Tensor,
    num_groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    scale: Tensor | None,
    shift: Tensor | None,
    activation: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The forward pass with the statistics that the backward needs; arguments as `group_norm_silu`.

    Returns:
        The output, and the mean and 1 / sqrt(variance + eps) of each group, (B, num_groups),
        float32 (float64 for float64 x).
    """
    grouped = x.to(_precise(x)).unflatten(1, (num_groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=0)
    rstd = torch.rsqrt(variance + eps)
    gain, offset = _affine(x, weight, bias, scale, shift)
    normalized = _normalize(grouped, mean, rstd) * gain + offset
    out = silu(normalized) if activation else normalized
    return like(out, x), mean, rstd


def group_norm_silu_backward(
    gradient: Tensor,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    num_groups: int,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    activation: bool,
) -> Tensor:
    """The gradient with respect to x.

    With xhat = (x - mean) rstd, z = xhat gain + offset and dz = gradient silu'(z),

        dxhat = dz gain
        dx = rstd (dxhat - mean_g(dxhat) - xhat mean_g(dxhat xhat)),  mean_g over a group

    Args:
        gradient: (B, C, H, W) with respect to the output.
        x: (B, C, H, W) the input of the forward pass.
        mean: (B, num_groups) of the forward pass.
        rstd: (B, num_groups) of the forward pass.
        num_groups: as in the forward pass, like all that follow.
        weight: (C,).
        bias: (C,).
        scale: (B, C) or None.
        shift: (B, C) or None.
        activation: whether SiLU was applied.

    Returns:
        (B, C, H, W) in the dtype and memory format of x.
    """
    xhat = _normalize(x.to(_precise(x)).unflatten(1, (num_groups, -1)), mean, rstd)
    gain, offset = _affine(x, weight, bias, scale, shift)
    dz = gradient.to(xhat.dtype)
    if activation:
        z = xhat * gain + offset
        sigmoid = torch.sigmoid(z)
        dz = dz * sigmoid * (1 + z * (1 - sigmoid))
    dxhat, xhat = ((t).unflatten(1, (num_groups, -1)) for t in (dz * gain, xhat))
    within = (2, 3, 4)
    centered = dxhat - dxhat.mean(within, True) - xhat * (dxhat * xhat).mean(within, True)
    return like((centered * rstd[..., None, None, None]).flatten(1, 2), x)


def _normalize(grouped: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    """(x - mean) rstd, back in (B, C, H, W)."""
    column = (..., None, None, None)
    return ((grouped - mean[column]) * rstd[column]).flatten(1, 2)


def make(part: Callable[[str], Callable[..., Any]]) -> Callable[..., Tensor]:
    """The differentiable op from the forward and backward ops of a backend.

    Where a function transform is active (`torch.func.vjp`) or traces (`torch.compile`), an
    `autograd.Function` with `setup_context` is needed; an op with `register_autograd` works under
    neither. Elsewhere a function of the old form does the same in half the time: that of
    `setup_context` inspects its own signature at every call, which is longer than the whole op on
    a small image.
    """
    forward_op, backward_op = part("group_norm_silu_forward"), part("group_norm_silu_backward")

    def gradient_to_x(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return (None,) * 8
        x, mean, rstd, weight, bias, scale, shift = ctx.saved_tensors
        dx = backward_op(
            gradient, x, mean, rstd, ctx.num_groups, weight, bias, scale, shift, ctx.activation
        )
        return dx, None, None, None, None, None, None, None

    def keep(ctx: Any, inputs: tuple[Any, ...], mean: Tensor, rstd: Tensor) -> None:
        x, ctx.num_groups, weight, bias, _, scale, shift, ctx.activation = inputs
        ctx.save_for_backward(x, mean, rstd, weight, bias, scale, shift)

    class Eager(torch.autograd.Function):
        """Gradient to x only."""

        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Tensor:
            y, mean, rstd = forward_op(*inputs)
            keep(ctx, inputs, mean, rstd)
            return y

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
            return gradient_to_x(ctx, gradient)

    class Transformable(torch.autograd.Function):
        """Gradient to x only."""

        @staticmethod
        def forward(  # named one by one: dynamo, where no gradient is wanted, counts them
            x: Tensor,
            num_groups: int,
            weight: Tensor,
            bias: Tensor,
            eps: float,
            scale: Tensor | None,
            shift: Tensor | None,
            activation: bool,
        ) -> tuple[Tensor, Tensor, Tensor]:
            return forward_op(x, num_groups, weight, bias, eps, scale, shift, activation)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
            ctx.mark_non_differentiable(*output[1:])
            ctx.set_materialize_grads(False)  # no zeros for the statistics
            keep(ctx, inputs, *output[1:])

        @staticmethod
        def backward(ctx: Any, gradient: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
            return gradient_to_x(ctx, gradient)

    def fused(
        x: Tensor,
        num_groups: int,
        weight: Tensor,
        bias: Tensor,
        eps: float = 1e-5,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
        activation: bool = True,
    ) -> Tensor:
        inputs = (x, num_groups, weight, bias, eps, scale, shift, activation)
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return Transformable.apply(*inputs)[0]
        return Eager.apply(*inputs) if torch.is_grad_enabled() else forward_op(*inputs)[0]

    return fused


def fake_forward(x: Tensor, num_groups: int, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs' shapes, dtypes and strides."""
    mean = x.new_empty(x.shape[0], num_groups, dtype=_precise(x))
    return torch.empty_like(x), mean, torch.empty_like(mean)


def fake_backward(gradient: Tensor, x: Tensor, *_: object) -> Tensor:
    """The output's shape and strides."""
    return torch.empty_like(x)


FORWARD = register(
    "group_norm_silu_forward",
    group_norm_silu_forward,
    fake=fake_forward,
    home="group_norm_silu",
    any_dtype=True,
)
BACKWARD = register(
    "group_norm_silu_backward",
    group_norm_silu_backward,
    fake=fake_backward,
    home="group_norm_silu",
    any_dtype=True,
)
OP = register("group_norm_silu", group_norm_silu, build=make, any_dtype=True)
