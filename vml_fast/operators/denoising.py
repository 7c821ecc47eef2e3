"""Denoising: H = I."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vml_fast.operators import checks
from vml_fast.operators.linear_operator import DEFAULT_RTOL
from vml_fast.operators.svd_operator import SVDOperator


class Denoising(SVDOperator):
    """The identity: y = x, all singular values 1.

    Args:
        image_shape: (C, H, W).
    """

    def __init__(self, image_shape: tuple[int, int, int], *, rtol: float = DEFAULT_RTOL) -> None:
        shape = checks.image_shape(image_shape)
        super().__init__(shape, shape, rtol=rtol)
        self.spectral_shape = shape

    def _arguments(self) -> dict[str, Any]:
        return {"image_shape": self.image_shape, "rtol": self.rtol}

    def _forward(self, x: Tensor) -> Tensor:
        return x.clone()

    _adjoint = _pseudo_inverse = _forward

    def _spectral(self, x: Tensor) -> Tensor:
        return x

    _spatial = _spectral_measurement = _spectral

    def _derive_spectral_values(self) -> Tensor:
        return torch.ones(1, 1, 1, dtype=torch.float64)
