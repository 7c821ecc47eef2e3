"""The real Fourier basis of H × W images, and its place in the half spectrum of `rfft2`.

For each frequency pair {k, -k} the basis holds √(2/N) cos(2π k·x) and √(2/N) sin(2π k·x); a
frequency that is its own negative (k = 0, and the Nyquist ones of even sides) holds only the
cosine, with √(1/N). N = H·W vectors, orthonormal, and every filter with a real, even response is
diagonal in them. The flat layout is the H × W frequency grid in the order of `fft2`: position k
holds the cosine if k comes first of its pair and the sine of -k if it comes second.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def half_width(width: int) -> int:
    """Columns of the half spectrum."""
    return width // 2 + 1


def pack_plan(height: int, width: int) -> tuple[Tensor, Tensor]:
    """How to read the flat layout from a half spectrum.

    Returns:
        (index, weight), each (H·W,): with X the orthonormal half spectrum as real numbers,
        flattened from (H, W//2 + 1, 2), the coordinates are `weight * X[index]`.
    """
    rows, columns = _grid(height, width)
    own, second = _own_negative(rows, columns, height, width), _second(rows, columns, height, width)
    first_row = torch.where(second, (-rows) % height, rows)
    first_column = torch.where(second, (-columns) % width, columns)
    index = 2 * (first_row * half_width(width) + first_column) + second
    # X holds cosine - i·sine: the sine coordinate is minus the imaginary part.
    weight = torch.where(own, 1.0, math.sqrt(2) * _sign(second))
    return index.flatten(), weight.flatten()


def unpack_plan(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The inverse of `pack_plan`: X.flatten() = weight * z[index], (H·(W//2 + 1)·2,) each."""
    rows, columns = _grid(height, half_width(width))
    own, second = _own_negative(rows, columns, height, width), _second(rows, columns, height, width)
    here = rows * width + columns
    opposite = (-rows) % height * width + (-columns) % width
    cosine = torch.where(second, opposite, here)
    sine = torch.where(second, here, opposite)
    half = math.sqrt(0.5) * torch.ones(here.shape, dtype=torch.float64)
    cosine_weight = torch.where(own, 1.0, half)
    sine_weight = torch.where(own, 0.0, -half * _sign(second))
    index = torch.stack([cosine, sine], -1)
    weight = torch.stack([cosine_weight, sine_weight], -1)
    return index.flatten(), weight.flatten()


def value_index(height: int, width: int) -> Tensor:
    """Index, (H·W,), of each flat coordinate's frequency in the flattened (H, W//2 + 1) half."""
    return pack_plan(height, width)[0] // 2


def symmetrize(half: Tensor, width: int) -> Tensor:
    """Make a half spectrum (..., H, W//2 + 1) exactly that of a real image.

    The transform of a real image satisfies X[-k] = conj(X[k]); in the columns that hold both k and
    -k this is true only up to rounding, which is not enough to compare with a threshold.
    """
    half = half.clone()
    for column in {0, width // 2} if width % 2 == 0 else {0}:
        line = half[..., column]
        mirrored = torch.roll(line.flip(-1), 1, -1)
        half[..., column] = (line + mirrored.conj()) / 2
    return half


def _grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    rows = torch.arange(height)[:, None].expand(height, width)
    return rows, torch.arange(width)[None, :].expand(height, width)


def _own_negative(rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    return (2 * rows % height == 0) & (2 * columns % width == 0)


def _sign(second: Tensor) -> Tensor:
    """1 where first and -1 where second, float64."""
    return 1.0 - 2.0 * second.double()


def _second(rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    """Whether a frequency comes second of its pair, so that the first lies in the half spectrum."""
    return torch.where(2 * columns % width == 0, 2 * rows > height, 2 * columns > width)
