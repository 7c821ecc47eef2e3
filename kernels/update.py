"""The second kernel of an inner step: the new state and the network's next input, in place."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from .checks import (
    check_coefficients,
    check_network,
    check_state,
    check_writable,
)
from .images import Frame, at, coefficient, rows, these_elements, this_program
from .library import launch, operator
from .settings import settings


@triton.jit
def _kernel(
    x,
    v,
    gradient,
    u,
    coefficients,
    sizes,
    tiles,
    CHANNELS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, tile = this_program(tiles)
    i, c, p = these_elements(sizes, tile, CHANNELS_LAST, BLOCK)
    inside = i < sizes.elements
    c_in = coefficient(coefficients, b, 1)
    state = tl.load(at(x, b, i, c, p, sizes), mask=inside)
    bracket = tl.load(at(v, b, i, c, p, sizes), mask=inside)
    slope = tl.load(at(gradient, b, i, c, p, sizes), mask=inside).to(tl.float32)
    state += coefficient(coefficients, b, 0) * bracket + c_in * slope
    tl.store(at(x, b, i, c, p, sizes), state, mask=inside)
    tl.store(at(u, b, i, c, p, sizes), c_in * state, mask=inside)


def _fake(x: Tensor, v: Tensor, gradient: Tensor, u: Tensor, coefficients: Tensor) -> None:
    return None


@operator(fake=_fake, mutates=("x", "u"))
def update(x: Tensor, v: Tensor, gradient: Tensor, u: Tensor, coefficients: Tensor) -> None:
    """See `vml_fast.ops.update`."""
    check_network(x, "x")
    check_state(x, "x")
    check_state(v, "v", x)
    check_network(gradient, "gradient", x)
    check_network(u, "u", x)
    check_coefficients(coefficients, x, columns=2)
    for name, tensor in (("x", x), ("u", u)):
        check_writable(tensor, name)
    frame = Frame(u)
    setting = settings("update", frame.sizes.elements)
    tiles = frame.tiles(setting["block"])
    launch(
        _kernel,
        frame.batch * tiles,
        *(frame.image(t) for t in (x, v, gradient, u)),
        rows(coefficients),
        frame.sizes,
        tiles,
        CHANNELS_LAST=frame.channels_last,
        BLOCK=setting["block"],
        num_warps=setting["num_warps"],
    )
