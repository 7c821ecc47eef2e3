"""Colorization: only the mean of the color channels is observed."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vml_fast.operators import checks
from vml_fast.operators.linear_operator import DEFAULT_RTOL
from vml_fast.operators.reflection import reflect
from vml_fast.operators.svd_operator import SVDOperator


class Colorization(SVDOperator):
    """y = (x_1 + … + x_C)/C, the plain mean of the channels: (1, H, W).

    For three channels the weights are 1/3 each, not a luma formula. U = I, the H·W non-zero
    singular values are 1/√C, and V turns the channels of a pixel by a Householder reflection whose
    first vector is gray; in the spectral layout, (C, H, W), gray is channel 0.

    Args:
        image_shape: (C, H, W), any C.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, rtol: float = DEFAULT_RTOL) -> None:
        shape = checks.image_shape(image_shape)
        super().__init__(shape, (1, *shape[1:]), rtol=rtol)
        self.spectral_shape = shape

    def _arguments(self) -> dict[str, Any]:
        return {"image_shape": self.image_shape, "rtol": self.rtol}

    def _forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)

    def _pseudo_inverse(self, y: Tensor) -> Tensor:
        return y.repeat(1, self.image_shape[0], 1, 1)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._pseudo_inverse(y / self.image_shape[0])

    def _spectral(self, x: Tensor) -> Tensor:
        return reflect(x, (-3,))

    _spatial = _spectral

    def _spectral_measurement(self, y: Tensor) -> Tensor:
        z = y.new_zeros(y.shape[0], *self.image_shape)
        z[:, :1] = y
        return z

    def _derive_spectral_values(self) -> Tensor:
        values = torch.zeros(self.image_shape[0], 1, 1, dtype=torch.float64)
        values[0] = 1 / math.sqrt(self.image_shape[0])
        return values
