"""Super-resolution whose measurement is the mean of each block of pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from vml_fast.checks import check_count
from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.linear_operator import DEFAULT_RTOL
from vml_fast.operators.reflection import reflect
from vml_fast.operators.svd_operator import SVDOperator


class SuperResolution(SVDOperator):
    """y = the mean of each factor × factor block, per channel: (C, H/factor, W/factor).

    Closed form: U = I, every non-zero singular value is 1/factor, and V is a Householder basis of
    each block, whose first vector is the block's constant one. In the spectral layout, (C, H, W),
    that coordinate sits in the block's first pixel.

    Args:
        image_shape: (C, H, W); factor must divide H and W.
        factor: side of a block.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], factor: int, *, rtol: float = DEFAULT_RTOL
    ) -> None:
        shape = checks.image_shape(image_shape)
        self.factor = checked_factor(factor, shape)
        channels, height, width = shape
        small = (channels, height // self.factor, width // self.factor)
        super().__init__(shape, small, rtol=rtol)
        self.spectral_shape = shape

    def _arguments(self) -> dict[str, Any]:
        return {"image_shape": self.image_shape, "factor": self.factor, "rtol": self.rtol}

    def _variant(self) -> tuple[int]:
        return (self.factor,)

    def _blocks(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/f, f, W/f, f), a view."""
        return x.unflatten(3, (-1, self.factor)).unflatten(2, (-1, self.factor))

    def _forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(x, self.factor)

    def _pseudo_inverse(self, y: Tensor) -> Tensor:
        blocks = y[:, :, :, None, :, None].expand(-1, -1, -1, self.factor, -1, self.factor)
        # A copy even where a view would do: nothing returned overlaps itself or y.
        return blocks.clone(memory_format=torch.contiguous_format).view(-1, *self.image_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._pseudo_inverse(y / self.factor**2)

    def _spectral(self, x: Tensor) -> Tensor:
        return reflect(self._blocks(x), (-3, -1)).reshape(-1, *self.image_shape)

    _spatial = _spectral

    def _spectral_measurement(self, y: Tensor) -> Tensor:
        z = y.new_zeros(y.shape[0], *self.image_shape)
        z[:, :, :: self.factor, :: self.factor] = y
        return z

    def _derive_spectral_values(self) -> Tensor:
        values = torch.zeros(1, *self.image_shape[1:], dtype=torch.float64)
        values[:, :: self.factor, :: self.factor] = 1 / self.factor
        return values

    def _derive_singular_values(self) -> Tensor:
        values = torch.zeros(self.image_size, dtype=torch.float64)
        values[: self.measurement_size] = 1 / self.factor
        return values

    def _pack(self, z: Tensor) -> Tensor:
        return self._blocks(z).permute(0, 3, 5, 1, 2, 4).flatten(1)

    def _unpack(self, z: Tensor) -> Tensor:
        grid = z.unflatten(1, (self.factor, self.factor, *self.measurement_shape))
        return grid.permute(0, 3, 4, 1, 5, 2).reshape(-1, *self.image_shape)


def checked_factor(factor: Any, image_shape: tuple[int, int, int]) -> int:
    """Return `factor` as a positive integer that divides both sides of the image."""
    factor = check_count("factor", factor, 1)
    if image_shape[1] % factor or image_shape[2] % factor:
        raise InputError(
            f"factor {factor} does not divide the height {image_shape[1]} and the width "
            f"{image_shape[2]} of image_shape {image_shape}"
        )
    return factor
