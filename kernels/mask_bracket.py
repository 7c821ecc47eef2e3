"""Inpainting: from the network's raw output to the bracket and the network's cotangent."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vml_fast.errors import InputError

from .checks import check_bracket, check_broadcasts, check_device, check_state
from .images import (
    Frame,
    at,
    coefficient,
    denoised,
    rows,
    these_elements,
    this_program,
)
from .library import fake_bracket, launch, operator
from .settings import settings


@triton.jit
def _kernel(
    raw,
    x,
    y,
    mask,
    v,
    cotangent,
    coefficients,
    sizes,
    tiles,
    CHANNELS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, tile = this_program(tiles)
    i, c, p = these_elements(sizes, tile, CHANNELS_LAST, BLOCK)
    inside = i < sizes.elements
    c_out = coefficient(coefficients, b, 1)
    state, image = denoised(
        at(raw, b, i, c, p, sizes),
        at(x, b, i, c, p, sizes),
        inside,
        coefficient(coefficients, b, 0),
        c_out,
    )
    measured = tl.load(at(y, b, i, c, p, sizes), mask=inside, other=0.0)
    observed = tl.load(at(mask, b, i, c, p, sizes), mask=inside, other=0) != 0
    prior = image - state
    in_range = coefficient(coefficients, b, 2) * (measured - image)
    in_range += coefficient(coefficients, b, 3) * prior
    value = tl.where(observed, in_range, coefficient(coefficients, b, 4) * prior)
    tl.store(at(v, b, i, c, p, sizes), value, mask=inside)
    tl.store(at(cotangent, b, i, c, p, sizes), c_out * value, mask=inside)


@operator(fake=fake_bracket)
def mask_bracket(
    raw: Tensor, x: Tensor, y: Tensor, mask: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """See `vml_fast.ops.mask_bracket`."""
    check_bracket(raw, x, coefficients)
    check_state(y, "y", x)
    check_broadcasts(mask, tuple(x.shape), "mask")
    check_device(mask, "mask", x)
    if mask.dtype not in (torch.bool, torch.uint8, torch.float32):
        raise InputError(f"mask is {mask.dtype}; it must be bool, uint8 or float32.")
    v, cotangent = torch.empty_like(x), torch.empty_like(raw)
    frame = Frame(raw)
    setting = settings("mask_bracket", frame.sizes.elements)
    tiles = frame.tiles(setting["block"])
    launch(
        _kernel,
        frame.batch * tiles,
        *(frame.image(t) for t in (raw, x, y, _numeric(mask), v, cotangent)),
        rows(coefficients),
        frame.sizes,
        tiles,
        CHANNELS_LAST=frame.channels_last,
        BLOCK=setting["block"],
        num_warps=setting["num_warps"],
    )
    return v, cotangent


def _numeric(mask: Tensor) -> Tensor:
    return mask.view(torch.uint8) if mask.dtype == torch.bool else mask
