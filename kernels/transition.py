"""The step to the next noise level with counter-based noise, and the integers behind that noise.

The generator is Philox4x32-10, counted as in `vml_fast.ops.philox`: one call makes the noise of
four elements that follow each other in the logical C, H, W order.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from vml_fast.errors import InputError

from .checks import (
    check_device,
    check_dtype,
    check_network,
    check_per_sample,
    check_state,
)
from .images import Frame, at, is_channels_last, these_elements, this_program
from .library import launch, operator
from .settings import settings

UNIFORM = tl.constexpr(2.0**-24)
"""One step of the uniforms, which keep the upper 24 bits of an integer."""
ANGLE = tl.constexpr(2.0 * math.pi * 2.0**-24)
QUARTER = tl.constexpr(2**22)
"""A quarter of a turn, in such steps."""


@triton.jit
def _words(groups, seed, sample, draw):
    """Four uniform 32-bit integers for each group of four elements."""
    zeros = tl.zeros_like(groups)
    low = (sample & 0xFFFFFFFF).to(tl.uint32)
    high = ((sample >> 32) & 0xFFFFFFFF).to(tl.uint32)
    count = (draw & 0xFFFFFFFF).to(tl.uint32)
    return tl.philox(seed, groups, zeros + count, zeros + low, zeros + high)


@triton.jit
def _in_order(first, second, third, fourth):
    """One tensor with the four of each group next to each other."""
    return tl.interleave(tl.interleave(first, third), tl.interleave(second, fourth))


@triton.jit
def _cosine_sine(turn):
    """cos and sin of 2 pi turn / 2**24 for integers turn, from Taylor series up to pi/4.

    The reduction to the nearest quarter of a turn is exact, unlike that of a float angle, and needs
    no memory for large angles, unlike the library's.
    """
    quarter = (turn + QUARTER // 2) // QUARTER
    a = (turn - quarter * QUARTER).to(tl.float32) * ANGLE
    z = a * a
    sine = a * (1 + z * (-1 / 6 + z * (1 / 120 + z * (-1 / 5040 + z * (1 / 362880)))))
    cosine = 1 + z * (-1 / 2 + z * (1 / 24 + z * (-1 / 720 + z * (1 / 40320 - z * (1 / 3628800)))))
    odd = (quarter & 1) != 0
    of_cosine = tl.where(odd, sine, cosine)
    of_sine = tl.where(odd, cosine, sine)
    return (
        tl.where(((quarter + 1) & 2) != 0, -of_cosine, of_cosine),
        tl.where((quarter & 2) != 0, -of_sine, of_sine),
    )


@triton.jit
def _box_muller(first, second):
    """Two standard normals from two 32-bit integers."""
    radius = tl.sqrt(-2.0 * tl.log(((first >> 8).to(tl.float32) + 1.0) * UNIFORM))
    cosine, sine = _cosine_sine((second >> 8).to(tl.int32))
    return radius * cosine, radius * sine


@triton.jit
def _transition(
    denoised,
    out,
    sigma,
    seed,
    sample,
    draw,
    sizes,
    bands,
    band_tiles,
    BLOCK: tl.constexpr,
):
    """Tiles in the logical order; `bands` far apart ones are done side by side.

    With one band a channel, the channels of a channels-last image meet in the cache.
    """
    b, program = this_program(bands * band_tiles)
    tile = (program % bands) * band_tiles + program // bands
    groups = tile * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    w0, w1, w2, w3 = _words(
        groups.to(tl.uint32), tl.load(seed + b), tl.load(sample + b), tl.load(draw)
    )
    n0, n1 = _box_muller(w0, w1)
    n2, n3 = _box_muller(w2, w3)
    i, c, p = these_elements(sizes, tile, False, BLOCK)
    inside = i < sizes.elements
    mean = tl.load(at(denoised, b, i, c, p, sizes), mask=inside)
    value = mean + tl.load(sigma + b) * _in_order(n0, n1, n2, n3)
    tl.store(at(out, b, i, c, p, sizes), value, mask=inside)


@triton.jit
def _philox_words(out, seed, sample, draw, groups_inside, tiles, GROUPS: tl.constexpr):
    b, tile = this_program(tiles)
    groups = tile * GROUPS + tl.arange(0, GROUPS)
    w0, w1, w2, w3 = _words(
        groups.to(tl.uint32), tl.load(seed + b), tl.load(sample + b), tl.load(draw)
    )
    place = tile * GROUPS * 4 + tl.arange(0, GROUPS * 4)
    words = _in_order(w0, w1, w2, w3).to(tl.int64)
    tl.store(out + b * groups_inside * 4 + place, words, mask=place < groups_inside * 4)


def _fake(denoised: Tensor, sigma: Tensor, seed: Tensor, sample: Tensor, draw: Tensor) -> Tensor:
    return torch.empty_like(denoised)


@operator(fake=_fake)
def transition(
    denoised: Tensor, sigma: Tensor, seed: Tensor, sample: Tensor, draw: Tensor
) -> Tensor:
    """See `vml_fast.ops.transition`."""
    check_network(denoised, "denoised")
    check_state(denoised, "denoised")
    check_per_sample(sigma, "sigma", denoised.shape[0], torch.float32)
    check_device(sigma, "sigma", denoised)
    _check_counters(denoised, denoised.shape[0], seed, sample, draw)
    out = torch.empty_like(denoised)
    frame = Frame(out, channels_last=False)
    setting = settings("transition", frame.sizes.elements)
    bands = frame.sizes.channels if is_channels_last(out) else 1
    band_tiles = triton.cdiv(frame.tiles(setting["block"]), bands)
    launch(
        _transition,
        frame.batch * bands * band_tiles,
        *(frame.image(t) for t in (denoised, out)),
        *(t.contiguous() for t in (sigma, seed, sample)),
        draw,
        frame.sizes,
        bands,
        band_tiles,
        BLOCK=setting["block"],
        num_warps=setting["num_warps"],
    )
    return out


def _fake_words(elements: int, seed: Tensor, sample: Tensor, draw: Tensor) -> Tensor:
    return seed.new_empty(seed.shape[0], (elements + 3) // 4, 4)


@operator(fake=_fake_words)
def philox_words(elements: int, seed: Tensor, sample: Tensor, draw: Tensor) -> Tensor:
    """See `vml_fast.ops.transition`."""
    if elements < 1:
        raise InputError(f"elements is {elements}; it must be at least 1.")
    _check_counters(seed, seed.numel(), seed, sample, draw)
    groups = (elements + 3) // 4
    out = seed.new_empty(seed.shape[0], groups, 4)
    setting = settings("philox_words", elements)
    tiles = triton.cdiv(groups, setting["block"])
    launch(
        _philox_words,
        seed.shape[0] * tiles,
        out,
        seed.contiguous(),
        sample.contiguous(),
        draw,
        groups,
        tiles,
        GROUPS=setting["block"],
        num_warps=setting["num_warps"],
    )
    return out


def _check_counters(like: Tensor, batch: int, seed: Tensor, sample: Tensor, draw: Tensor) -> None:
    for name, tensor in (("seed", seed), ("sample", sample)):
        check_per_sample(tensor, name, batch, torch.int64)
        check_device(tensor, name, like)
    check_dtype(draw, "draw", torch.int64)
    check_device(draw, "draw", like)
    if draw.numel() != 1:
        raise InputError(f"draw has shape {tuple(draw.shape)}; it must be (1,).")
