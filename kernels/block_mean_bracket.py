"""Block-mean super-resolution: from the network's raw output to the bracket and the cotangent.

A program holds whole blocks, so that their means need no second pass. Blocks too large to be held
are read twice.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vml_fast.errors import InputError

from .checks import check_bracket, check_device, check_state
from .images import (
    coefficient,
    denoised,
    is_channels_last,
    rows,
    strided,
    this_program,
)
from .library import fake_bracket, launch, operator
from .settings import settings

CHANNEL_TILE = 4
"""How many channels of a channels-last image a program holds: those of an RGB image."""


@triton.jit
def _pointers(image, b, c, row, column):
    base = image.pointer + b * image.batch
    return base + (c * image.channel + row * image.row + column * image.column)


@triton.jit
def _inside_term(measured, image_mean, prior_mean, coefficients, b, FACTOR: tl.constexpr):
    """What a block adds to each of its pixels."""
    beta = coefficient(coefficients, b, 3) - coefficient(coefficients, b, 4)
    alpha = coefficient(coefficients, b, 2) / FACTOR
    return alpha * (measured - image_mean) + beta * prior_mean


@triton.jit
def _whole_blocks(
    raw,
    x,
    y,
    v,
    cotangent,
    coefficients,
    channels,
    block_columns,
    blocks,
    channel_tiles,
    tiles,
    FACTOR: tl.constexpr,
    SIDE: tl.constexpr,
    BLOCKS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """A tile is (SIDE rows, BLOCKS neighboring blocks, SIDE columns, CHANNELS)."""
    b, tile = this_program(tiles)
    c = (tile % channel_tiles) * CHANNELS + tl.arange(0, CHANNELS)[None, None, None, :]
    block = (tile // channel_tiles) * BLOCKS + tl.arange(0, BLOCKS)[None, :, None, None]
    block_row = block // block_columns
    block_column = block % block_columns
    in_row = tl.arange(0, SIDE)[:, None, None, None]
    in_column = tl.arange(0, SIDE)[None, None, :, None]
    row = block_row * FACTOR + in_row
    column = block_column * FACTOR + in_column
    block_inside = (block < blocks) & (c < channels)
    inside = block_inside & (in_row < FACTOR) & (in_column < FACTOR)
    c_out = coefficient(coefficients, b, 1)
    state, image = denoised(
        _pointers(raw, b, c, row, column),
        _pointers(x, b, c, row, column),
        inside,
        coefficient(coefficients, b, 0),
        c_out,
    )
    prior = image - state
    area: tl.constexpr = FACTOR * FACTOR
    image_mean = tl.sum(tl.sum(image, 2, keep_dims=True), 0, keep_dims=True) / area
    prior_mean = tl.sum(tl.sum(prior, 2, keep_dims=True), 0, keep_dims=True) / area
    measured = tl.load(_pointers(y, b, c, block_row, block_column), mask=block_inside, other=0.0)
    value = coefficient(coefficients, b, 4) * prior
    value += _inside_term(measured, image_mean, prior_mean, coefficients, b, FACTOR)
    tl.store(_pointers(v, b, c, row, column), value, mask=inside)
    tl.store(_pointers(cotangent, b, c, row, column), c_out * value, mask=inside)


@triton.jit
def _one_large_block(
    raw,
    x,
    y,
    v,
    cotangent,
    coefficients,
    channels,
    block_columns,
    tiles,
    FACTOR: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """One channel of one block, twice over its pixels: first the means, then the outputs."""
    b, tile = this_program(tiles)
    c = tile % channels
    block_row = tile // channels // block_columns
    block_column = tile // channels % block_columns
    c_skip = coefficient(coefficients, b, 0)
    c_out = coefficient(coefficients, b, 1)
    area: tl.constexpr = FACTOR * FACTOR
    image_sum = tl.zeros((PIXELS,), tl.float32)
    prior_sum = tl.zeros((PIXELS,), tl.float32)
    for start in range(0, area, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        row = block_row * FACTOR + pixel // FACTOR
        column = block_column * FACTOR + pixel % FACTOR
        raw_pointers = _pointers(raw, b, c, row, column)
        x_pointers = _pointers(x, b, c, row, column)
        state, image = denoised(raw_pointers, x_pointers, pixel < area, c_skip, c_out)
        image_sum += image
        prior_sum += image - state
    image_mean = tl.sum(image_sum, 0) / area
    prior_mean = tl.sum(prior_sum, 0) / area
    measured = tl.load(_pointers(y, b, c, block_row, block_column))
    common = _inside_term(measured, image_mean, prior_mean, coefficients, b, FACTOR)
    beta_null = coefficient(coefficients, b, 4)
    for start in range(0, area, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        row = block_row * FACTOR + pixel // FACTOR
        column = block_column * FACTOR + pixel % FACTOR
        inside = pixel < area
        raw_pointers = _pointers(raw, b, c, row, column)
        x_pointers = _pointers(x, b, c, row, column)
        state, image = denoised(raw_pointers, x_pointers, inside, c_skip, c_out)
        value = beta_null * (image - state) + common
        tl.store(_pointers(v, b, c, row, column), value, mask=inside)
        tl.store(_pointers(cotangent, b, c, row, column), c_out * value, mask=inside)


def _fake(
    raw: Tensor, x: Tensor, y: Tensor, factor: int, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    return fake_bracket(raw, x)


@operator(fake=_fake)
def block_mean_bracket(
    raw: Tensor, x: Tensor, y: Tensor, factor: int, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """See `vml_fast.ops.block_mean_bracket`."""
    check_bracket(raw, x, coefficients)
    _check_blocks(x, y, factor)
    v, cotangent = torch.empty_like(x), torch.empty_like(raw)
    batch, channels, height, width = x.shape
    block_columns = width // factor
    blocks = height // factor * block_columns
    setting = settings("block_mean_bracket", channels * height * width)
    side = triton.next_power_of_2(factor)
    largest = setting["largest_tile"]
    common = (*(strided(t) for t in (raw, x, y, v, cotangent)), rows(coefficients), channels)
    if side * side > largest:
        tiles = channels * blocks
        launch(
            _one_large_block,
            batch * tiles,
            *(*common, block_columns, tiles),
            FACTOR=factor,
            PIXELS=setting["block"],
            num_warps=setting["num_warps"],
        )
        return v, cotangent
    together = min(CHANNEL_TILE, triton.next_power_of_2(channels)) if is_channels_last(raw) else 1
    if side * side * together > largest:
        together = 1
    size = side * side * together
    per_tile = max(1, setting["block"] // size)
    channel_tiles = triton.cdiv(channels, together)
    tiles = triton.cdiv(blocks, per_tile) * channel_tiles
    launch(
        _whole_blocks,
        batch * tiles,
        *(*common, block_columns, blocks, channel_tiles, tiles),
        FACTOR=factor,
        SIDE=side,
        BLOCKS=per_tile,
        CHANNELS=together,
        num_warps=setting["num_warps_large" if size > setting["block"] else "num_warps"],
    )
    return v, cotangent


def _check_blocks(x: Tensor, y: Tensor, factor: int) -> None:
    batch, channels, height, width = x.shape
    if factor < 1 or height % factor or width % factor:
        raise InputError(f"factor is {factor}; it must be at least 1 and divide {height}x{width}.")
    check_state(y, "y")
    check_device(y, "y", x)
    expected = (batch, channels, height // factor, width // factor)
    if tuple(y.shape) != expected:
        raise InputError(f"y has shape {tuple(y.shape)}; it must be {expected}.")
