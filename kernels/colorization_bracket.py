"""Colorization: from the network's raw output to the bracket and the network's cotangent.

A program holds all channels of its pixels, so that their mean needs no second pass.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from vml_fast.errors import InputError

from .checks import check_bracket, check_device, check_state
from .images import Frame, at_pixel, coefficient, denoised, rows, this_program
from .library import fake_bracket, launch, operator
from .settings import settings


@triton.jit
def _kernel(
    raw,
    x,
    y,
    v,
    cotangent,
    coefficients,
    sizes,
    tiles,
    root,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    b, tile = this_program(tiles)
    p = (tile * PIXELS + tl.arange(0, PIXELS))[:, None]
    c = tl.arange(0, CHANNELS)[None, :]
    inside = (p < sizes.pixels) & (c < sizes.channels)
    c_out = coefficient(coefficients, b, 1)
    beta_null = coefficient(coefficients, b, 4)
    state, image = denoised(
        at_pixel(raw, b, c, p, sizes),
        at_pixel(x, b, c, p, sizes),
        inside,
        coefficient(coefficients, b, 0),
        c_out,
    )
    prior = image - state
    gray = tl.sum(prior, axis=1, keep_dims=True) / sizes.channels
    gray_image = tl.sum(image, axis=1, keep_dims=True) / sizes.channels
    measured = tl.load(at_pixel(y, b, 0, p, sizes), mask=p < sizes.pixels, other=0.0)
    in_range = (coefficient(coefficients, b, 2) / root) * (measured - gray_image)
    in_range += (coefficient(coefficients, b, 3) - beta_null) * gray
    value = beta_null * prior + in_range
    tl.store(at_pixel(v, b, c, p, sizes), value, mask=inside)
    tl.store(at_pixel(cotangent, b, c, p, sizes), c_out * value, mask=inside)


@operator(fake=fake_bracket)
def colorization_bracket(
    raw: Tensor, x: Tensor, y: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """See `vml_fast.ops.colorization_bracket`."""
    check_bracket(raw, x, coefficients)
    _check_gray(y, x)
    v, cotangent = torch.empty_like(x), torch.empty_like(raw)
    frame = Frame(raw)
    setting = settings("colorization_bracket", frame.sizes.elements)
    channels = triton.next_power_of_2(frame.sizes.channels)
    pixels = max(1, setting["block"] // channels)
    tiles = triton.cdiv(frame.sizes.pixels, pixels)
    launch(
        _kernel,
        frame.batch * tiles,
        *(frame.pixels(t) for t in (raw, x, y, v, cotangent)),
        rows(coefficients),
        frame.sizes,
        tiles,
        math.sqrt(frame.sizes.channels),
        PIXELS=pixels,
        CHANNELS=channels,
        num_warps=setting["num_warps"],
    )
    return v, cotangent


def _check_gray(y: Tensor, x: Tensor) -> None:
    batch, _, height, width = x.shape
    check_state(y, "y")
    check_device(y, "y", x)
    if tuple(y.shape) != (batch, 1, height, width):
        raise InputError(f"y has shape {tuple(y.shape)}; it must be {(batch, 1, height, width)}.")
