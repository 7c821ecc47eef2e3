"""Cuts an image into tiles of whole channel groups, for GroupNorm.

A tile is (PIXELS, GROUPS, WIDTH); WIDTH is the number of channels of a group, rounded up to a power
of two. A small image fits into one tile with all its pixels: one kernel reads it once. Of a larger
one a first kernel reduces slabs of pixels, and the second merges the slabs of its groups.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .images import Frame, at_pixel, is_channels_last
from .settings import settings

SECTOR = 32
"""Bytes that memory delivers at once: a tile of channels-last data is at least as wide."""


class Grouping(NamedTuple):
    """Sizes of one image and of its groups."""

    width: int
    pixels: int
    groups: int


class Affine(NamedTuple):
    """weight and bias (C,), scale and shift (B, C) or None, with their strides."""

    weight: Any
    weight_step: int
    bias: Any
    bias_step: int
    scale: Any
    scale_batch: int
    scale_step: int
    shift: Any
    shift_batch: int
    shift_step: int


class Plan:
    """How an image is cut.

    Attributes:
        frame: how the elements of the image are found.
        grouping: sizes for the kernels.
        whole: whether one tile holds all pixels of its groups.
        tile: PIXELS, GROUPS, WIDTH and OF_GROUP (channels, known when a kernel is compiled, so that
            it sees which of them can be read together).
        group_tiles: how many tiles lie along the groups.
        pixel_tiles: how many along the pixels.
        slab: pixels that one program of the first kernel reduces, a multiple of PIXELS.
        slabs: how many of those; 1 where `whole`.
        warps: of a program.
    """

    def __init__(self, x: Tensor, num_groups: int) -> None:
        self.frame = Frame(x)
        _, pixels, width, elements = self.frame.sizes
        self.grouping = Grouping(width, pixels, num_groups)
        setting = settings("group_norm_silu", elements)
        # Registers are 32 bits wide: float64 has room for half as many elements.
        halves = 2 if x.dtype == torch.float64 else 1
        of_group = x.shape[1] // num_groups
        columns = triton.next_power_of_2(of_group)
        all_pixels = triton.next_power_of_2(pixels)
        groups = self._groups(x, SECTOR // x.element_size(), columns)
        size = all_pixels * groups * columns
        self.whole = size <= setting["largest_whole"] // halves
        if self.whole:
            tile_pixels = all_pixels
            self.warps = max(1, min(16, size * halves // setting["elements_per_warp"]))
        else:
            groups = self._groups(x, setting["channels"], columns)
            tile_pixels = max(1, setting["block"] // (halves * groups * columns))
            self.warps = setting["num_warps"]
        self.tile = {
            "OF_GROUP": of_group,
            "PIXELS": tile_pixels,
            "GROUPS": groups,
            "WIDTH": columns,
        }
        self.group_tiles = triton.cdiv(num_groups, groups)
        self.pixel_tiles = triton.cdiv(pixels, tile_pixels)
        self.slab = triton.cdiv(self.pixel_tiles, setting["most_slabs"]) * tile_pixels
        self.slabs = triton.cdiv(pixels, self.slab)

    def _groups(self, x: Tensor, channels: int, columns: int) -> int:
        """Groups of a tile: as many as span `channels`; one where channels lie far apart."""
        if not is_channels_last(x):
            return 1
        return min(triton.next_power_of_2(self.grouping.groups), max(1, channels // columns))


def affine(weight: Tensor, bias: Tensor, scale: Tensor | None, shift: Tensor | None) -> Affine:
    """The affine part as a kernel sees it."""
    of_scale, of_shift = _steps(scale), _steps(shift)
    return Affine(
        weight, weight.stride(0), bias, bias.stride(0), scale, *of_scale, shift, *of_shift
    )


def _steps(table: Tensor | None) -> tuple[int, int]:
    return (0, 0) if table is None else (table.stride(0), table.stride(1))


@triton.jit
def tile_indices(
    grouping,
    group_tile,
    first_pixel,
    OF_GROUP: tl.constexpr,
    PIXELS: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Pixels and channels of a tile, and which of them are inside the image and the group."""
    p = first_pixel + tl.arange(0, PIXELS)[:, None, None]
    g = group_tile * GROUPS + tl.arange(0, GROUPS)[None, :, None]
    of_group = tl.arange(0, WIDTH)[None, None, :]
    inside = (p < grouping.pixels) & (g < grouping.groups)
    if OF_GROUP < WIDTH:
        inside = inside & (of_group < OF_GROUP)
    return p, g * OF_GROUP + of_group, inside


@triton.jit
def group_indices(grouping, group_tile, GROUPS: tl.constexpr):
    """The groups of a tile, and which of them exist."""
    g = group_tile * GROUPS + tl.arange(0, GROUPS)
    return g, g < grouping.groups


@triton.jit
def load_tile(image, b, c, p, grouping, inside, dtype: tl.constexpr):
    """A tile in the precision of the statistics, 0 outside."""
    return tl.load(at_pixel(image, b, c, p, grouping), mask=inside, other=0.0).to(dtype)


@triton.jit
def load_base(image, grouping, b, group_tile, OF_GROUP: tl.constexpr, GROUPS: tl.constexpr):
    """The first element of each group, in whose neighborhood the others are expected."""
    g, exists = group_indices(grouping, group_tile, GROUPS)
    return tl.load(at_pixel(image, b, g * OF_GROUP, 0, grouping), mask=exists, other=0.0)


@triton.jit
def load_affine(
    affine,
    grouping,
    b,
    group_tile,
    OF_GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
    dtype: tl.constexpr,
):
    """w (1 + scale) and b (1 + scale) + shift of a tile's channels, (1, GROUPS, WIDTH)."""
    _, c, inside = tile_indices(grouping, group_tile, 0, OF_GROUP, 1, GROUPS, WIDTH)
    gain = tl.load(affine.weight + c * affine.weight_step, mask=inside, other=0.0).to(dtype)
    offset = tl.load(affine.bias + c * affine.bias_step, mask=inside, other=0.0).to(dtype)
    if affine.scale is not None:
        row = affine.scale + b * affine.scale_batch
        scale = 1 + tl.load(row + c * affine.scale_step, mask=inside, other=0.0).to(dtype)
        gain *= scale
        offset *= scale
    if affine.shift is not None:
        row = affine.shift + b * affine.shift_batch
        offset += tl.load(row + c * affine.shift_step, mask=inside, other=0.0).to(dtype)
    return gain, offset


@triton.jit
def over_groups(tile):
    """(PIXELS, GROUPS, WIDTH) summed to (GROUPS,)."""
    return tl.sum(tl.sum(tile, axis=2), axis=0)


@triton.jit
def slab_pointers(parts, grouping, b, slabs, k, g):
    """Where slab k of sample b keeps what it found of group g; parts is (B, slabs, groups)."""
    return parts + (b * slabs + k) * grouping.groups + g


@triton.jit
def slab_pixels(grouping, slab, k):
    """How many pixels slab k has; the last one may be short, those behind it have none."""
    return tl.maximum(tl.minimum(grouping.pixels - k * slab, slab), 0)
