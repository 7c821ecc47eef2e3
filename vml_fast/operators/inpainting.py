"""Inpainting: some entries of the image are observed, the others are not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vml_fast.arrays import as_tensor
from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.linear_operator import DEFAULT_RTOL
from vml_fast.operators.svd_operator import SVDOperator


class Inpainting(SVDOperator):
    """y = mask · x: a measurement has the image's shape, with zeros where hidden.

    U = V = I and the singular values are the mask itself. What y holds where the mask hides is not
    used; it has to be finite.

    Args:
        image_shape: (C, H, W).
        mask: 1 or True = observed, 0 or False = hidden; (1|C, H, W), or (B, 1|C, H, W) for one mask
            per sample (a batch of 1 serves any batch).

    Raises:
        InputError: another shape, values other than 0 and 1, or a mask that hides everything.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], mask: Any, *, rtol: float = DEFAULT_RTOL
    ) -> None:
        shape = checks.image_shape(image_shape)
        mask = _checked_mask(mask, shape)
        batch_size = mask.shape[0] if mask.ndim == 4 else None
        super().__init__(shape, shape, rtol=rtol, data={"mask": mask}, batch_size=batch_size)
        self.spectral_shape = shape

    def _arguments(self) -> dict[str, Any]:
        return {"image_shape": self.image_shape, "rtol": self.rtol, **self._data}

    def _forward(self, x: Tensor) -> Tensor:
        return self._tensor("mask", x) * x

    _adjoint = _pseudo_inverse = _forward

    def _observed(self, like: Tensor) -> Tensor:
        return self._tensor("mask", like)

    def _spectral(self, x: Tensor) -> Tensor:
        return x

    _spatial = _spectral_measurement = _spectral

    def _derive_spectral_values(self) -> Tensor:
        return self._data["mask"].double()


def _checked_mask(mask: Any, image_shape: tuple[int, int, int]) -> Tensor:
    mask = as_tensor(mask, "mask")
    channels, height, width = image_shape
    if (
        mask.ndim not in (3, 4)
        or mask.shape[-3] not in (1, channels)
        or tuple(mask.shape[-2:]) != (height, width)
        or mask.shape[0] == 0
    ):
        raise InputError(
            f"mask has shape {tuple(mask.shape)}; image_shape {image_shape} takes "
            f"(1|{channels}, {height}, {width}) or (B, 1|{channels}, {height}, {width})"
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError("mask has values other than 0 (hidden) and 1 (observed)")
    per_sample = mask if mask.ndim == 4 else mask[None]
    if not bool((per_sample != 0).flatten(1).any(1).all()):
        raise InputError("mask hides every entry of an image; allowed: at least one observed")
    return mask.to(torch.float32)
