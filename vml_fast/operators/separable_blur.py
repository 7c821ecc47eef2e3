"""Blur by a separable kernel, with zeros beyond the border."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vml_fast.arrays import as_floating
from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.linear_operator import DEFAULT_RTOL
from vml_fast.operators.separable import SeparableOperator


class SeparableBlur(SeparableOperator):
    """y[i, j] = Σ_s Σ_t kernel[s] kernel_columns[t] x[i - s + c, j - t + c'], of x's size.

    A true convolution in each channel, centered at c = len(kernel)//2; pixels outside the image are
    zero, so y darkens towards the border. `scipy.ndimage.convolve1d(mode="constant")` along both
    axes is the same map.

    Args:
        image_shape: (C, H, W).
        kernel: odd number of taps along the height; not normalized here.
        kernel_columns: odd number of taps along the width; the same kernel for None.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        kernel: Any,
        kernel_columns: Any = None,
        *,
        rtol: float = DEFAULT_RTOL,
    ) -> None:
        shape = checks.image_shape(image_shape)
        data = {"kernel": _taps(kernel, "kernel")}
        data["kernel_columns"] = (
            data["kernel"] if kernel_columns is None else _taps(kernel_columns, "kernel_columns")
        )
        super().__init__(shape, shape[1], shape[2], rtol=rtol, data=data)

    def _arguments(self) -> dict[str, Any]:
        return {"image_shape": self.image_shape, "rtol": self.rtol, **self._data}

    def _derive_rows(self) -> Tensor:
        return convolution_matrix(self._data["kernel"].double(), self.image_shape[1])

    def _derive_columns(self) -> Tensor:
        return convolution_matrix(self._data["kernel_columns"].double(), self.image_shape[2])


def convolution_matrix(kernel: Tensor, size: int) -> Tensor:
    """The size × size matrix of a centered 1-D convolution with a zero border."""
    index = torch.arange(size, device=kernel.device)
    tap = index[:, None] - index[None, :] + kernel.shape[0] // 2
    inside = (tap >= 0) & (tap < kernel.shape[0])
    return torch.where(inside, kernel[tap.clamp(0, kernel.shape[0] - 1)], 0.0)


def _taps(kernel: Any, name: str) -> Tensor:
    kernel = as_floating(kernel, name)
    if kernel.ndim != 1 or kernel.shape[0] % 2 == 0:
        raise InputError(
            f"{name} has shape {tuple(kernel.shape)}; SeparableBlur takes one dimension with an "
            f"odd number of taps"
        )
    return checks.finite(name, kernel)
