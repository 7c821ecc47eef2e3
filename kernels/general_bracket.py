"""Any operator: the last pass of a bracket whose operator-space term is already computed."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .checks import check_bracket, check_state
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
    term,
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
    of_operator = tl.load(at(term, b, i, c, p, sizes), mask=inside, other=0.0)
    value = coefficient(coefficients, b, 2) * of_operator
    value += coefficient(coefficients, b, 4) * (image - state)
    tl.store(at(v, b, i, c, p, sizes), value, mask=inside)
    tl.store(at(cotangent, b, i, c, p, sizes), c_out * value, mask=inside)


@operator(fake=fake_bracket)
def general_bracket(
    raw: Tensor, x: Tensor, term: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """See `vml_fast.ops.general_bracket`."""
    check_bracket(raw, x, coefficients)
    check_state(term, "term", x)
    v, cotangent = torch.empty_like(x), torch.empty_like(raw)
    frame = Frame(raw)
    setting = settings("general_bracket", frame.sizes.elements)
    tiles = frame.tiles(setting["block"])
    launch(
        _kernel,
        frame.batch * tiles,
        *(frame.image(t) for t in (raw, x, term, v, cotangent)),
        rows(coefficients),
        frame.sizes,
        tiles,
        CHANNELS_LAST=frame.channels_last,
        BLOCK=setting["block"],
        num_warps=setting["num_warps"],
    )
    return v, cotangent
