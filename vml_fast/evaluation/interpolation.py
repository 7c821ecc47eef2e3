"""What interpolation makes of measurements."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vml_fast.errors import InputError, require
from vml_fast.operators import LinearOperator


def bicubic(operator: LinearOperator, y: Tensor) -> Tensor:
    """What interpolation alone gives: cubic in space for missing pixels, nothing against a blur.

    Args:
        operator: H.
        y: (B, *measurement_shape).

    Returns:
        (B, C, H, W).

    Raises:
        InputError: y is no picture.
        MissingExtra: SciPy is not installed.
    """
    if y.ndim != 4 or y.shape[1] != operator.image_shape[0]:
        raise InputError(
            f"y has the shape {tuple(y.shape)}; bicubic interpolation needs a picture of "
            f"{operator.image_shape[0]} channels"
        )
    if y.shape[1:] != tuple(operator.image_shape):
        size = operator.image_shape[1:]
        return torch.nn.functional.interpolate(y, size=size, mode="bicubic", antialias=False)
    mask = operator.data.get("mask")
    if mask is None:
        return y
    return torch.stack([_fill(image, mask.reshape(mask.shape[-2:])) for image in y])


def _fill(image: Tensor, mask: Tensor) -> Tensor:
    griddata = require("scipy.interpolate", "evaluation").griddata
    known, points = mask.bool().cpu().numpy(), np.indices(mask.shape)
    inside, everywhere = points[:, known].T, points.reshape(2, -1).T
    channels = []
    for channel in image.cpu().numpy():
        nearest = griddata(inside, channel[known], everywhere, method="nearest")
        cubic = griddata(inside, channel[known], everywhere, method="cubic")
        channels.append(np.where(np.isnan(cubic), nearest, cubic).reshape(mask.shape))
    return torch.from_numpy(np.stack(channels)).to(image)
