"""The point-wise middle of a bracket in singular-value coordinates, real or complex.

A complex number is two neighboring floats with the same real coefficients.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vml_fast.errors import InputError

from .checks import check_broadcasts, check_device, check_dtype
from .images import Frame, Image, at, these_elements, this_program
from .library import launch, operator
from .settings import settings


@triton.jit
def _kernel(
    z_image,
    z_prior,
    target,
    s,
    alpha,
    beta,
    out,
    sizes,
    tiles,
    PRIOR: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, tile = this_program(tiles)
    # PARTS floats of each of BLOCK coordinates, neighbors in memory.
    i, c, p = these_elements(sizes, tile, False, BLOCK)
    inside = i < sizes.elements
    part = tl.arange(0, PARTS)[None, :]
    both = inside[:, None]
    image = tl.load(at(z_image, b, i, c, p, sizes)[:, None] + part, mask=both)
    measured = tl.load(at(target, b, i, c, p, sizes)[:, None] + part, mask=both)
    singular = tl.load(at(s, b, i, c, p, sizes), mask=inside)
    weight = tl.load(at(alpha, b, i, c, p, sizes), mask=inside)
    value = weight[:, None] * (measured - singular[:, None] * image)
    if PRIOR:
        prior = tl.load(at(z_prior, b, i, c, p, sizes)[:, None] + part, mask=both)
        pull = tl.load(at(beta, b, i, c, p, sizes), mask=inside)
        value += tl.where(singular != 0, pull, 0.0)[:, None] * prior
    tl.store(at(out, b, i, c, p, sizes)[:, None] + part, value, mask=both)


def _fake(z: Tensor, target: Tensor, s: Tensor, alpha: Tensor, beta: Tensor | None) -> Tensor:
    return z.new_empty(z.shape[1:])


@operator(fake=_fake)
def spectral_filter(
    z: Tensor, target: Tensor, s: Tensor, alpha: Tensor, beta: Tensor | None
) -> Tensor:
    """See `vml_fast.ops.spectral_filter`; z may have any strides."""
    _check(z, target, s, alpha, beta)
    z, target = z.resolve_conj(), target.resolve_conj()
    out = z.new_empty(z.shape[1:])
    frame = Frame(out, channels_last=False)
    setting = settings("spectral_filter", frame.sizes.elements)
    tiles = frame.tiles(setting["block"])
    launch(
        _kernel,
        frame.batch * tiles,
        *(_floats(frame, t) for t in (z[0], z[-1], target)),
        *(frame.image(t) for t in (s, alpha, alpha if beta is None else beta)),
        _floats(frame, out),
        frame.sizes,
        tiles,
        PRIOR=beta is not None,
        PARTS=2 if z.is_complex() else 1,
        BLOCK=setting["block"],
        num_warps=setting["num_warps"],
    )
    return out


def _floats(frame: Frame, tensor: Tensor) -> Image:
    """The tensor, or the first part of each of its complex numbers, in steps of floats."""
    image = frame.image(tensor)
    if not tensor.is_complex():
        return image
    batch, channel, row = (None if step is None else 2 * step for step in image[1:4])
    return Image(torch.view_as_real(tensor), batch or 0, channel, row, 2 * image.column)


def _check(z: Tensor, target: Tensor, s: Tensor, alpha: Tensor, beta: Tensor | None) -> None:
    if z.dtype not in (torch.float32, torch.complex64):
        raise InputError(f"z is {z.dtype}; it must be float32 or complex64.")
    entries = 1 if beta is None else 2
    if z.dim() != 5 or z.shape[0] != entries:
        raise InputError(f"z has shape {tuple(z.shape)}; it must be ({entries}, B, C, h, w).")
    check_dtype(target, "target", z.dtype)
    for name, tensor in (("target", target), ("s", s), ("alpha", alpha), ("beta", beta)):
        if tensor is None:
            continue
        if name != "target":
            check_dtype(tensor, name, torch.float32)
        check_device(tensor, name, z)
        check_broadcasts(tensor, tuple(z.shape[1:]), name)
