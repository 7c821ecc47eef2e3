"""Finds the elements of images of any memory format inside a kernel, without a copy.

A launcher makes one `Frame` for all tensors of an op. It walks the elements of a sample in the
order in which they lie in memory (C, H, W or, for channels-last networks, H, W, C), so that the
accesses are coalesced; a tensor that lies in this very order needs no index arithmetic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from vml_fast.errors import InputError

LARGEST_OFFSET = 2**31 - 1


class Image(NamedTuple):
    """A (B, C, H, W) tensor as a kernel sees it: a pointer and strides, in elements.

    `channel` None: the elements of a sample lie in the order of the frame, `column` apart. `row`
    None: the pixels of a channel lie `column` apart.
    """

    pointer: Any
    batch: int
    channel: int | None
    row: int | None
    column: int


class Sizes(NamedTuple):
    """Of one image."""

    channels: int
    pixels: int
    width: int
    elements: int


class Rows(NamedTuple):
    """A (B | 1, columns) tensor of coefficients; `row` is 0 where one row serves all samples."""

    pointer: Any
    row: int
    column: int


def rows(coefficients: Tensor) -> Rows:
    """The packed coefficients as a kernel sees them."""
    step = coefficients.stride(0) if coefficients.shape[0] > 1 else 0
    return Rows(coefficients, step, coefficients.stride(1))


def strided(tensor: Tensor) -> Image:
    """A tensor with all its strides, 0 where its size is 1."""
    steps = [step if n > 1 else 0 for n, step in zip(tensor.shape, tensor.stride(), strict=True)]
    last = sum((n - 1) * step for n, step in zip(tensor.shape[1:], steps[1:], strict=True))
    if last > LARGEST_OFFSET:
        raise InputError(
            f"one image of shape {tuple(tensor.shape)} and strides {tensor.stride()} reaches over "
            f"{last} elements; at most 2**31 are supported."
        )
    return Image(tensor, *steps)


def is_channels_last(tensor: Tensor) -> bool:
    """Whether the channels of a pixel are neighbors in memory."""
    return tensor.dim() == 4 and tensor.shape[1] > 1 and tensor.stride(1) == 1


class Frame:
    """The common walk through all tensors of an op.

    Args:
        template: the tensor whose shape and memory order lead.
        channels_last: the order, where it is to differ from that of the template.
    """

    def __init__(self, template: Tensor, channels_last: bool | None = None) -> None:
        self.batch, channels, height, width = template.shape
        self.sizes = Sizes(channels, height * width, width, channels * height * width)
        self.height = height
        self.channels_last = is_channels_last(template) if channels_last is None else channels_last

    def tiles(self, block: int) -> int:
        """How many tiles of `block` elements cover one sample."""
        return triton.cdiv(self.sizes.elements, block)

    def image(self, tensor: Tensor) -> Image:
        """A tensor of the frame's shape, or one that broadcasts to it."""
        image = self.pixels(tensor)
        if image.row is not None:
            return image
        channels, pixels, _, _ = self.sizes
        across, along = (channels, 1) if self.channels_last else (1, pixels)
        in_order = (pixels == 1 or image.column == across) and (
            channels == 1 or image.channel == along
        )
        return image._replace(channel=None, column=1) if in_order else image

    def pixels(self, tensor: Tensor) -> Image:
        """Like `image`, for kernels that index channels and pixels apart."""
        image = strided(tensor)
        width = self.sizes.width
        if width == 1:
            return image._replace(row=None, column=image.row or 0)
        if self.height == 1 or image.row == width * image.column:
            return image._replace(row=None)
        return image


@triton.jit
def at(image, b, i, c, p, sizes):
    """Pointers to the elements i, which are the channels c of the pixels p, of sample b."""
    base = image.pointer + b * image.batch
    if image.channel is None:
        return base + i * image.column
    else:
        return at_pixel(image, b, c, p, sizes)


@triton.jit
def at_pixel(image, b, c, p, sizes):
    """Pointers to the channels c of the pixels p of sample b."""
    base = image.pointer + b * image.batch
    if image.row is None:
        return base + (c * image.channel + p * image.column)
    else:
        row = p // sizes.width
        column = p % sizes.width
        return base + (c * image.channel + row * image.row + column * image.column)


@triton.jit
def this_program(tiles):
    """The sample and the tile of this program."""
    program = tl.program_id(0)
    return (program // tiles).to(tl.int64), program % tiles


@triton.jit
def these_elements(sizes, tile, CHANNELS_LAST: tl.constexpr, BLOCK: tl.constexpr):
    """Indices of a tile's elements in the order of the frame, their channels and pixels."""
    i = tile * BLOCK + tl.arange(0, BLOCK)
    if CHANNELS_LAST:
        c = i % sizes.channels
        p = i // sizes.channels
    else:
        c = i // sizes.pixels
        p = i % sizes.pixels
    return i, c, p


@triton.jit
def coefficient(table, b, column: tl.constexpr):
    """One packed coefficient of sample b."""
    return tl.load(table.pointer + b * table.row + column * table.column)


@triton.jit
def denoised(raw_pointers, x_pointers, inside, c_skip, c_out):
    """x and D = c_skip x + c_out F in float32; 0 outside."""
    x = tl.load(x_pointers, mask=inside, other=0.0)
    raw = tl.load(raw_pointers, mask=inside, other=0.0).to(tl.float32)
    return x, c_skip * x + c_out * raw
