"""Super-resolution whose measurement is an antialiased bicubic reduction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vml_fast.operators import checks
from vml_fast.operators.linear_operator import DEFAULT_RTOL
from vml_fast.operators.separable import SeparableOperator
from vml_fast.operators.super_resolution import checked_factor


class BicubicSuperResolution(SeparableOperator):
    """y = x reduced by an integer factor with antialiased bicubic interpolation.

    The field's definition (MATLAB `imresize`, DDRM's strided bicubic): Keys' cubic with a = -1/2,
    stretched by the factor, so 4·factor taps per axis; output i is centered at input
    (i + 1/2)·factor - 1/2; the border is mirrored with the edge pixel repeated; weights sum to 1.
    Away from the border Pillow's BICUBIC and `torch.nn.functional.interpolate(mode="bicubic",
    antialias=True)` agree; at the border those two renormalize the weights instead.

    Args:
        image_shape: (C, H, W); factor must divide H and W.
        factor: reduction along each side.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], factor: int, *, rtol: float = DEFAULT_RTOL
    ) -> None:
        shape = checks.image_shape(image_shape)
        self.factor = checked_factor(factor, shape)
        super().__init__(shape, shape[1] // self.factor, shape[2] // self.factor, rtol=rtol)

    def _arguments(self) -> dict[str, Any]:
        return {"image_shape": self.image_shape, "factor": self.factor, "rtol": self.rtol}

    def _variant(self) -> tuple[int]:
        return (self.factor,)

    def _derive_rows(self) -> Tensor:
        return bicubic_matrix(self.image_shape[1], self.factor)

    def _derive_columns(self) -> Tensor:
        return bicubic_matrix(self.image_shape[2], self.factor)


def bicubic_matrix(size: int, factor: int) -> Tensor:
    """The (size/factor, size) matrix of the 1-D reduction, float64."""
    center = (torch.arange(size // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    first = (center - 2 * factor).ceil().long()
    taps = first[:, None] + torch.arange(4 * factor + 1)
    weights = _cubic((taps - center[:, None]) / factor)
    weights = weights / weights.sum(1, keepdim=True)
    # Mirroring with the edge repeated has period 2·size.
    folded = taps % (2 * size)
    folded = torch.where(folded < size, folded, 2 * size - 1 - folded)
    return torch.zeros(size // factor, size, dtype=torch.float64).scatter_add(1, folded, weights)


def _cubic(t: Tensor) -> Tensor:
    """Keys' cubic convolution kernel (1981, Eq. 4) with a = -1/2."""
    t = t.abs()
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return torch.where(t <= 1, near, torch.where(t < 2, far, 0.0))
