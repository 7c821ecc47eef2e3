"""GroupNorm + scale-shift + SiLU: the kernels of the forward pass.

All sums are of differences to the first element of a group, so that statistics far from zero keep
their digits; a variance comes from squared deviations, never from a sum of squares.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .groups import (
    group_indices,
    load_affine,
    load_base,
    load_tile,
    over_groups,
    slab_pixels,
    slab_pointers,
    tile_indices,
)
from .images import at_pixel, this_program


@triton.jit
def slab_moments(
    x,
    slab_mean,
    slab_m2,
    grouping,
    slab,
    slabs,
    group_tiles,
    OF_GROUP: tl.constexpr,
    PIXELS: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Mean (to the base) and squared deviations of groups in one slab (Welford 1962, Chan 1983)."""
    dtype: tl.constexpr = slab_mean.dtype.element_ty
    b, program = this_program(slabs * group_tiles)
    group_tile = program % group_tiles
    k = program // group_tiles
    base = load_base(x, grouping, b, group_tile, OF_GROUP, GROUPS).to(dtype)[None, :, None]
    mean = tl.zeros((PIXELS, GROUPS, WIDTH), dtype)
    m2 = tl.zeros((PIXELS, GROUPS, WIDTH), dtype)
    steps = 0.0
    # Each place of the tile keeps the moments of what it has seen ...
    for start in range(0, slab, PIXELS):
        p, c, inside = tile_indices(
            grouping, group_tile, k * slab + start, OF_GROUP, PIXELS, GROUPS, WIDTH
        )
        value = load_tile(x, b, c, p, grouping, inside, dtype) - base
        steps += 1.0
        difference = tl.where(inside, value - mean, 0.0)
        mean += difference * (1.0 / steps)
        m2 += difference * (value - mean)
    # ... and the places are merged by how much that was.
    pixels = slab_pixels(grouping, slab, k)
    p, c, inside = tile_indices(grouping, group_tile, 0, OF_GROUP, PIXELS, GROUPS, WIDTH)
    seen = tl.where(inside, tl.maximum((pixels - p + PIXELS - 1) // PIXELS, 0), 0).to(dtype)
    group_mean = over_groups(seen * mean) / (pixels * OF_GROUP)
    deviation = mean - group_mean[None, :, None]
    group_m2 = over_groups(m2 + seen * deviation * deviation)
    g, exists = group_indices(grouping, group_tile, GROUPS)
    tl.store(slab_pointers(slab_mean, grouping, b, slabs, k, g), group_mean, mask=exists)
    tl.store(slab_pointers(slab_m2, grouping, b, slabs, k, g), group_m2, mask=exists)


@triton.jit
def _merge_moments(
    slab_mean,
    slab_m2,
    grouping,
    b,
    group_tile,
    slab,
    slabs,
    OF_GROUP: tl.constexpr,
    SLABS: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """Mean (to the base) and squared deviations of whole groups from those of their slabs."""
    dtype: tl.constexpr = slab_mean.dtype.element_ty
    g, exists = group_indices(grouping, group_tile, GROUPS)
    k = tl.arange(0, SLABS)[:, None]
    inside = (k < slabs) & exists[None, :]
    means = tl.load(
        slab_pointers(slab_mean, grouping, b, slabs, k, g[None, :]), mask=inside, other=0.0
    )
    m2s = tl.load(slab_pointers(slab_m2, grouping, b, slabs, k, g[None, :]), mask=inside, other=0.0)
    count = (slab_pixels(grouping, slab, k) * OF_GROUP).to(dtype)
    mean = tl.sum(count * means, axis=0) / (grouping.pixels * OF_GROUP)
    deviation = means - mean[None, :]
    return mean, tl.sum(m2s + count * deviation * deviation, axis=0)


@triton.jit
def forward(
    x,
    out,
    mean_out,
    rstd_out,
    slab_mean,
    slab_m2,
    affine,
    eps,
    grouping,
    slab,
    slabs,
    group_tiles,
    pixel_tiles,
    ACTIVATION: tl.constexpr,
    SLABS: tl.constexpr,
    OF_GROUP: tl.constexpr,
    PIXELS: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """The output of one tile; without slabs the tile holds all pixels of its groups."""
    dtype: tl.constexpr = mean_out.dtype.element_ty
    b, program = this_program(pixel_tiles * group_tiles)
    group_tile = program % group_tiles
    pixel_tile = program // group_tiles
    p, c, inside = tile_indices(
        grouping, group_tile, pixel_tile * PIXELS, OF_GROUP, PIXELS, GROUPS, WIDTH
    )
    base = load_base(x, grouping, b, group_tile, OF_GROUP, GROUPS).to(dtype)
    value = load_tile(x, b, c, p, grouping, inside, dtype) - base[None, :, None]
    value = tl.where(inside, value, 0.0)
    members = grouping.pixels * OF_GROUP
    if slab_mean is None:
        mean = over_groups(value) / members
        deviation = tl.where(inside, value - mean[None, :, None], 0.0)
        m2 = over_groups(deviation * deviation)
    else:
        mean, m2 = _merge_moments(
            slab_mean, slab_m2, grouping, b, group_tile, slab, slabs, OF_GROUP, SLABS, GROUPS
        )
    rstd = 1.0 / tl.sqrt(m2 / members + eps)
    if pixel_tile == 0:
        g, exists = group_indices(grouping, group_tile, GROUPS)
        tl.store(mean_out + b * grouping.groups + g, base + mean, mask=exists)
        tl.store(rstd_out + b * grouping.groups + g, rstd, mask=exists)
    gain, offset = load_affine(affine, grouping, b, group_tile, OF_GROUP, GROUPS, WIDTH, dtype)
    z = (value - mean[None, :, None]) * rstd[None, :, None] * gain + offset
    if ACTIVATION:
        z = z / (1.0 + tl.exp(-z))
    tl.store(at_pixel(out, b, c, p, grouping), z, mask=inside)
