"""The problem of a cell: operator and measurements, and what interpolation makes of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vml_fast.errors import InputError, require
from vml_fast.operators import PRESETS, TASKS, LinearOperator, preset, task
from vml_fast.ops.philox import normal

MEASUREMENT_DRAW = 2**31 - 1
"""Far from the draws of a solver, which count its noise levels from 0."""


def make_operator(name: str, image_shape: tuple[int, int, int]) -> LinearOperator:
    """The operator of a task of the command line, or of a published one ("daps/motion_blur").

    Raises:
        InputError: an unknown name, one that needs a mask, or a shape it does not allow.
    """
    if "/" in name:
        return preset(name, image_shape).operator
    if name not in TASKS or name == "inpaint":
        allowed = [known for known in TASKS if known != "inpaint"] + list(PRESETS)
        raise InputError(f"task is {name!r}; it must be one of {', '.join(allowed)}")
    return task(name, image_shape)


def measure(
    operator: LinearOperator, truth: Tensor, noise_std: float, index: Tensor, seed: int = 0
) -> Tensor:
    """y = H x + noise_std n, with noise that depends on the seed and the image's index alone.

    Args:
        operator: H.
        truth: (B, C, H, W).
        noise_std: sigma_y.
        index: (B,) int64.
        seed: of the noise.
    """
    clean = operator.forward(truth)
    noise = normal(
        tuple(clean.shape),
        seed=torch.full_like(index, seed),
        sample=index,
        draw=MEASUREMENT_DRAW,
    )
    noisy = clean + noise_std * noise.to(clean)
    mask = operator.data.get("mask")
    return noisy if mask is None else noisy * mask.to(noisy)


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
