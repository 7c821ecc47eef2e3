"""GroupNorm + scale-shift + SiLU: the kernels of the gradient with respect to the input.

With xhat = (x - mean) rstd, z = xhat gain + offset and dz = gradient silu'(z),

    dxhat = dz gain
    dx = rstd (dxhat - mean_g(dxhat) - xhat mean_g(dxhat xhat)),  mean_g over a group
"""

from __future__ import annotations

import triton
import triton.language as tl

from .groups import (
    group_indices,
    load_affine,
    load_tile,
    over_groups,
    slab_pointers,
    tile_indices,
)
from .images import at_pixel, this_program


@triton.jit
def _load_statistics(mean, rstd, grouping, b, group_tile, GROUPS: tl.constexpr):
    """mean and rstd of a tile's groups, shaped to meet a tile."""
    g, exists = group_indices(grouping, group_tile, GROUPS)
    row = b * grouping.groups
    center = tl.load(mean + row + g, mask=exists, other=0.0)
    width = tl.load(rstd + row + g, mask=exists, other=0.0)
    return center[None, :, None], width[None, :, None]


@triton.jit
def _dxhat(gradient, xhat, gain, offset, ACTIVATION: tl.constexpr):
    """The gradient with respect to xhat; 0 where that with respect to the output is."""
    if ACTIVATION:
        z = xhat * gain + offset
        sigmoid = 1.0 / (1.0 + tl.exp(-z))
        gradient *= sigmoid * (1.0 + z * (1.0 - sigmoid))
    return gradient * gain


@triton.jit
def slab_sums(
    gradient,
    x,
    mean,
    rstd,
    slab_dxhat,
    slab_product,
    affine,
    grouping,
    slab,
    slabs,
    group_tiles,
    ACTIVATION: tl.constexpr,
    OF_GROUP: tl.constexpr,
    PIXELS: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Sums of dxhat and of dxhat xhat over the groups in one slab."""
    dtype: tl.constexpr = mean.dtype.element_ty
    b, program = this_program(slabs * group_tiles)
    group_tile = program % group_tiles
    k = program // group_tiles
    center, width = _load_statistics(mean, rstd, grouping, b, group_tile, GROUPS)
    gain, offset = load_affine(affine, grouping, b, group_tile, OF_GROUP, GROUPS, WIDTH, dtype)
    sums = tl.zeros((PIXELS, GROUPS, WIDTH), dtype)
    products = tl.zeros((PIXELS, GROUPS, WIDTH), dtype)
    for start in range(0, slab, PIXELS):
        p, c, inside = tile_indices(
            grouping, group_tile, k * slab + start, OF_GROUP, PIXELS, GROUPS, WIDTH
        )
        xhat = (load_tile(x, b, c, p, grouping, inside, dtype) - center) * width
        given = load_tile(gradient, b, c, p, grouping, inside, dtype)
        dxhat = _dxhat(given, xhat, gain, offset, ACTIVATION)
        sums += dxhat
        products += dxhat * xhat
    g, exists = group_indices(grouping, group_tile, GROUPS)
    sum_place = slab_pointers(slab_dxhat, grouping, b, slabs, k, g)
    tl.store(sum_place, over_groups(sums), mask=exists)
    product_place = slab_pointers(slab_product, grouping, b, slabs, k, g)
    tl.store(product_place, over_groups(products), mask=exists)


@triton.jit
def _merge_sums(parts, grouping, b, group_tile, slabs, SLABS: tl.constexpr, GROUPS: tl.constexpr):
    """Sums over whole groups from those over their slabs."""
    g, exists = group_indices(grouping, group_tile, GROUPS)
    k = tl.arange(0, SLABS)[:, None]
    places = slab_pointers(parts, grouping, b, slabs, k, g[None, :])
    return tl.sum(tl.load(places, mask=(k < slabs) & exists[None, :], other=0.0), axis=0)


@triton.jit
def backward(
    gradient,
    x,
    mean,
    rstd,
    dx,
    slab_dxhat,
    slab_product,
    affine,
    grouping,
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
    """dx of one tile; without slabs the tile holds all pixels of its groups."""
    dtype: tl.constexpr = mean.dtype.element_ty
    b, program = this_program(pixel_tiles * group_tiles)
    group_tile = program % group_tiles
    p, c, inside = tile_indices(
        grouping,
        group_tile,
        program // group_tiles * PIXELS,
        OF_GROUP,
        PIXELS,
        GROUPS,
        WIDTH,
    )
    center, width = _load_statistics(mean, rstd, grouping, b, group_tile, GROUPS)
    gain, offset = load_affine(affine, grouping, b, group_tile, OF_GROUP, GROUPS, WIDTH, dtype)
    xhat = (load_tile(x, b, c, p, grouping, inside, dtype) - center) * width
    given = load_tile(gradient, b, c, p, grouping, inside, dtype)
    dxhat = _dxhat(given, xhat, gain, offset, ACTIVATION)
    if slab_dxhat is None:
        sums = over_groups(dxhat)
        products = over_groups(dxhat * xhat)
    else:
        sums = _merge_sums(slab_dxhat, grouping, b, group_tile, slabs, SLABS, GROUPS)
        products = _merge_sums(slab_product, grouping, b, group_tile, slabs, SLABS, GROUPS)
    members = grouping.pixels * OF_GROUP
    common = (sums / members)[None, :, None]
    along = (products / members)[None, :, None]
    value = (dxhat - common - xhat * along) * width
    tl.store(at_pixel(dx, b, c, p, grouping), value, mask=inside)
