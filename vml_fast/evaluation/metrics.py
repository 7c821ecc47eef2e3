"""How close a restoration is to the truth, per image; images in [-1, 1], so the data range is 2."""

from __future__ import annotations

import torch
from torch import Tensor

from vml_fast.errors import InputError, require

DATA_RANGE = 2.0
SSIM_WINDOW = 11


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, 10 log10(2² / MSE), nothing clipped.

    Args:
        images: (B, C, H, W) in [-1, 1].
        truth: the same shape.

    Returns:
        (B,) float64 in dB; infinity where both are equal.

    Raises:
        InputError: the shapes differ.
    """
    _check_shapes(images, truth)
    error = (images.double() - truth.double()).square().flatten(1).mean(dim=1)
    return 10.0 * torch.log10(DATA_RANGE**2 / error)


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 pixels, std 1.5.

    Computed by torchmetrics (extra `evaluation`) on [0, 1], since the measure is not invariant to a
    shift of the range; the mean over the channels and the positions where the whole window fits, as
    in the paper (no padding).

    Args:
        images: (B, C, H, W) in [-1, 1].
        truth: the same shape.

    Returns:
        (B,) float64, at most 1; NaN for images smaller than the window.

    Raises:
        InputError: the shapes differ.
        MissingExtra: torchmetrics is not installed.
    """
    _check_shapes(images, truth)
    functional = require("torchmetrics.functional.image", "evaluation")
    if min(images.shape[-2:]) < SSIM_WINDOW:
        return torch.full((len(images),), float("nan"), dtype=torch.float64, device=images.device)
    _, similarity = functional.structural_similarity_index_measure(
        (images.double() + 1.0) / 2.0,
        (truth.double() + 1.0) / 2.0,
        sigma=1.5,
        data_range=1.0,
        reduction="none",
        return_full_image=True,
    )
    border = SSIM_WINDOW // 2
    return similarity[..., border:-border, border:-border].flatten(1).mean(dim=1)


def _check_shapes(images: Tensor, truth: Tensor) -> None:
    if images.ndim != 4 or images.shape != truth.shape:
        raise InputError(
            f"images have the shape {tuple(images.shape)} and truth {tuple(truth.shape)}; "
            "both must be the same (B, C, H, W)"
        )
