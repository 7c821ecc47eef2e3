"""GroupNorm + scale-shift + SiLU, and its gradient with respect to the input alone.

The kernels are in `group_norm_forward` and `group_norm_backward`, the tiles in `groups`.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from vml_fast.errors import InputError

from . import group_norm_backward, group_norm_forward
from .checks import (
    NETWORK_DTYPES,
    check_device,
    check_dtype,
    check_network,
)
from .groups import Plan, affine
from .library import launch, operator


def _fake_forward(
    x: Tensor,
    num_groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    scale: Tensor | None,
    shift: Tensor | None,
    activation: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.new_empty(x.shape[0], num_groups, dtype=_precise(x))
    return torch.empty_like(x), mean, torch.empty_like(mean)


@operator(fake=_fake_forward)
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
    """See `vml_fast.ops.group_norm_silu`."""
    _check(x, num_groups, weight, bias, scale, shift)
    out, mean, rstd = _fake_forward(x, num_groups, weight, bias, eps, scale, shift, activation)
    if x.numel() == 0:
        return out, mean, rstd
    plan = Plan(x, num_groups)
    image = plan.frame.pixels(x)
    slab_mean, slab_m2 = _slab_parts(plan, mean)
    if not plan.whole:
        launch(
            group_norm_forward.slab_moments,
            plan.frame.batch * plan.slabs * plan.group_tiles,
            image,
            slab_mean,
            slab_m2,
            *(plan.grouping, plan.slab, plan.slabs, plan.group_tiles),
            **plan.tile,
            num_warps=plan.warps,
        )
    launch(
        group_norm_forward.forward,
        plan.frame.batch * plan.pixel_tiles * plan.group_tiles,
        *(image, plan.frame.pixels(out), mean, rstd, slab_mean, slab_m2),
        affine(weight, bias, scale, shift),
        eps,
        *(plan.grouping, plan.slab, plan.slabs, plan.group_tiles, plan.pixel_tiles),
        ACTIVATION=activation,
        SLABS=triton.next_power_of_2(plan.slabs),
        **plan.tile,
        num_warps=plan.warps,
    )
    return out, mean, rstd


def _fake_backward(
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
    return torch.empty_like(x)


@operator(fake=_fake_backward)
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
    """See `vml_fast.ops.group_norm_silu`."""
    _check(x, num_groups, weight, bias, scale, shift)
    check_network(gradient, "gradient", x)
    for name, tensor in (("mean", mean), ("rstd", rstd)):
        check_dtype(tensor, name, _precise(x))
        _check_shape(tensor, name, (x.shape[0], num_groups), x)
    dx = torch.empty_like(x)
    if x.numel() == 0:
        return dx
    plan = Plan(x, num_groups)
    inputs = (
        plan.frame.pixels(gradient),
        plan.frame.pixels(x),
        mean.contiguous(),
        rstd.contiguous(),
    )
    parts = _slab_parts(plan, mean)
    factors = affine(weight, bias, scale, shift)
    if not plan.whole:
        launch(
            group_norm_backward.slab_sums,
            plan.frame.batch * plan.slabs * plan.group_tiles,
            *(*inputs, *parts, factors),
            *(plan.grouping, plan.slab, plan.slabs, plan.group_tiles),
            ACTIVATION=activation,
            **plan.tile,
            num_warps=plan.warps,
        )
    launch(
        group_norm_backward.backward,
        plan.frame.batch * plan.pixel_tiles * plan.group_tiles,
        *(*inputs, plan.frame.pixels(dx), *parts, factors),
        *(plan.grouping, plan.slabs, plan.group_tiles, plan.pixel_tiles),
        ACTIVATION=activation,
        SLABS=triton.next_power_of_2(plan.slabs),
        **plan.tile,
        num_warps=plan.warps,
    )
    return dx


def _slab_parts(plan: Plan, mean: Tensor) -> Any:
    """Room for what two reductions find per slab; None where there are no slabs."""
    if plan.whole:
        return None, None
    return mean.new_empty(2, mean.shape[0], plan.slabs, mean.shape[1]).unbind(0)


def _precise(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _check(
    x: Tensor,
    num_groups: int,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
) -> None:
    check_network(x, "x")
    batch, channels = x.shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise InputError(
            f"num_groups is {num_groups}; it must be at least 1 and divide the {channels} channels."
        )
    vectors: dict[str, tuple[Tensor, tuple[int, ...]]]
    vectors = {"weight": (weight, (channels,)), "bias": (bias, (channels,))}
    if scale is not None:
        vectors["scale"] = scale, (batch, channels)
    if shift is not None:
        vectors["shift"] = shift, (batch, channels)
    for name, (tensor, shape) in vectors.items():
        _check_floating(tensor, name)
        _check_shape(tensor, name, shape, x)


def _check_floating(tensor: Tensor, name: str) -> None:
    if tensor.dtype not in NETWORK_DTYPES:
        raise InputError(
            f"{name} is {tensor.dtype}; it must be bfloat16, float16, float32 or float64."
        )


def _check_shape(tensor: Tensor, name: str, shape: tuple[int, ...], x: Tensor) -> None:
    if tuple(tensor.shape) != shape:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}; it must be {shape}.")
    check_device(tensor, name, x)
