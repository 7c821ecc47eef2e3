"""Fast Walsh-Hadamard transform: one pass over short vectors, else one pass per factor of n.

With n = a b the transform of a vector is that of an a x b matrix along rows and columns, H_a X H_b;
each pass transforms one of the factors in place, reading and writing every element once.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from vml_fast.errors import InputError

from .checks import check_state
from .library import launch, operator
from .settings import settings


@triton.jit
def _butterfly(tile, TILE: tl.constexpr, HALF: tl.constexpr):
    """Sums and differences of the elements of a flat tile that are HALF apart."""
    pairs = tl.reshape(tile, (TILE // (2 * HALF), 2, HALF))
    first, second = tl.split(tl.permute(pairs, (0, 2, 1)))
    pairs = tl.join(first + second, first - second)
    return tl.reshape(tl.permute(pairs, (0, 2, 1)), (TILE,))


@triton.jit
def _one_factor(
    source,
    out,
    scale,
    rows,
    inner,
    column_tiles,
    ROWS: tl.constexpr,
    STAGES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The transform along the middle of (rows, 2**STAGES, inner), ROWS x COLUMNS at once."""
    length: tl.constexpr = 1 << STAGES
    size: tl.constexpr = ROWS * length * COLUMNS
    program = tl.program_id(0)
    i = tl.arange(0, size)
    row = (program // column_tiles).to(tl.int64) * ROWS + i // (length * COLUMNS)
    column = (program % column_tiles) * COLUMNS + i % COLUMNS
    place = (row * length + (i // COLUMNS) % length) * inner + column
    inside = row < rows
    tile = tl.load(source + place, mask=inside, other=0.0) * scale
    for stage in tl.static_range(STAGES):
        tile = _butterfly(tile, size, COLUMNS << stage)
    tl.store(out + place, tile, mask=inside)


def _fake(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@operator(fake=_fake)
def fwht(x: Tensor) -> Tensor:
    """See `vml_fast.ops.fwht`."""
    check_state(x, "x")
    n = x.shape[-1] if x.dim() else 0
    if n < 1 or n & (n - 1):
        raise InputError(f"the last dimension of x is {n}; fwht takes powers of two.")
    out = x.new_empty(x.shape)
    setting = settings("fwht", n)
    source, scale, inner = x.contiguous(), 1 / math.sqrt(n), 1
    for stages in _factors(n.bit_length() - 1, setting["largest_pass"].bit_length() - 1):
        rows = x.numel() // (inner << stages)
        columns = min(inner, setting["columns"])
        together = max(1, setting["block"] // (columns << stages)) if inner == 1 else 1
        column_tiles = inner // columns
        large = together * columns << stages > setting["block"]
        launch(
            _one_factor,
            triton.cdiv(rows, together) * column_tiles,
            source,
            out,
            scale,
            rows,
            inner,
            column_tiles,
            ROWS=together,
            STAGES=stages,
            COLUMNS=columns,
            num_warps=setting["num_warps_large"] if large else setting["num_warps"],
        )
        source, scale, inner = out, 1.0, inner << stages
    return out


def _factors(bits: int, most: int) -> list[int]:
    """`bits` as a sum of nearly equal parts of at most `most`."""
    parts = max(1, -(-bits // most))
    return [(bits + part) // parts for part in range(parts)]
