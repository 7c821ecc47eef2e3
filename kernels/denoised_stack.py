"""The first pass of a bracket that needs a transform: D, and D - x where the prior term varies."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .checks import check_bracket
from .images import (
    Frame,
    at,
    coefficient,
    denoised,
    rows,
    these_elements,
    this_program,
)
from .library import launch, operator
from .settings import settings


@triton.jit
def _kernel(
    raw,
    x,
    image_out,
    prior_out,
    coefficients,
    sizes,
    tiles,
    PRIOR: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, tile = this_program(tiles)
    i, c, p = these_elements(sizes, tile, CHANNELS_LAST, BLOCK)
    inside = i < sizes.elements
    state, image = denoised(
        at(raw, b, i, c, p, sizes),
        at(x, b, i, c, p, sizes),
        inside,
        coefficient(coefficients, b, 0),
        coefficient(coefficients, b, 1),
    )
    tl.store(at(image_out, b, i, c, p, sizes), image, mask=inside)
    if PRIOR:
        tl.store(at(prior_out, b, i, c, p, sizes), image - state, mask=inside)


def _fake(raw: Tensor, x: Tensor, coefficients: Tensor, with_prior: bool) -> Tensor:
    return x.new_empty(2 if with_prior else 1, *x.shape)


@operator(fake=_fake)
def denoised_stack(raw: Tensor, x: Tensor, coefficients: Tensor, with_prior: bool) -> Tensor:
    """See `vml_fast.ops.denoised_stack`."""
    check_bracket(raw, x, coefficients)
    out = x.new_empty(2 if with_prior else 1, *x.shape)
    frame = Frame(raw)
    setting = settings("denoised_stack", frame.sizes.elements)
    tiles = frame.tiles(setting["block"])
    launch(
        _kernel,
        frame.batch * tiles,
        *(frame.image(t) for t in (raw, x, out[0], out[-1])),
        rows(coefficients),
        frame.sizes,
        tiles,
        PRIOR=with_prior,
        CHANNELS_LAST=frame.channels_last,
        BLOCK=setting["block"],
        num_warps=setting["num_warps"],
    )
    return out
