"""The tasks of the command line by name: one exact definition each."""

from __future__ import annotations

from typing import Any

from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.bicubic import BicubicSuperResolution
from vml_fast.operators.circular_blur import CircularBlur
from vml_fast.operators.colorization import Colorization
from vml_fast.operators.denoising import Denoising
from vml_fast.operators.inpainting import Inpainting
from vml_fast.operators.kernels import gaussian_kernel, motion_kernel, uniform_kernel
from vml_fast.operators.linear_operator import DEFAULT_RTOL, LinearOperator
from vml_fast.operators.masks import (
    alternate_rows_mask,
    box_mask,
    expand_mask,
    half_mask,
    random_mask,
    subsample_mask,
)
from vml_fast.operators.separable_blur import SeparableBlur
from vml_fast.operators.super_resolution import SuperResolution
from vml_fast.operators.walsh_hadamard import WalshHadamard

TASKS: dict[str, str] = {
    "sr2": "mean of each 2×2 block",
    "sr4": "mean of each 4×4 block",
    "sr8": "mean of each 8×8 block",
    "sr4-bicubic": "antialiased bicubic reduction by 4 (a = -1/2, mirrored border)",
    "half": "right half hidden",
    "box": "central box of half the width and half the height hidden",
    "random70": "70 % of the pixels hidden, drawn by the seed, all channels alike",
    "random50": "50 % of the pixels hidden, drawn by the seed, all channels alike",
    "expand": "only the central box of a quarter of the width and of the height observed",
    "subsample2": "only pixels of even row and even column observed",
    "alternate-rows": "only even rows observed",
    "deblur-uniform": "9 × 9 uniform blur, zero border",
    "deblur-gauss": "Gaussian blur of 13 × 13 taps and standard deviation 2, zero border",
    "deblur-motion": "camera shake drawn by the seed (15 × 15 taps at 64 pixels, in proportion "
    "to the shorter side), periodic border",
    "denoise": "the image itself",
    "colorize": "mean of the color channels",
    "walsh-hadamard": "a share (ratio, default 1/4) of the Walsh–Hadamard coefficients, drawn by "
    "the seed",
    "inpaint": "the pixels that the given mask keeps",
}


def task(
    name: str,
    image_shape: tuple[int, int, int],
    *,
    mask: Any = None,
    seed: int = 0,
    ratio: float = 0.25,
    rtol: float = DEFAULT_RTOL,
) -> LinearOperator:
    """Make the operator of a named task.

    Args:
        name: a key of `TASKS`, whose value is the definition.
        image_shape: (C, H, W).
        mask: for "inpaint" only, as `Inpainting` takes it (1 = observed).
        seed: draws random masks, motion kernels and coefficient selections.
        ratio: for "walsh-hadamard" only, the share of observed coefficients.
        rtol: as in every operator.

    Raises:
        InputError: an unknown name, a missing or superfluous mask, or an image shape that the
            definition does not allow.
    """
    if name not in TASKS:
        raise InputError(f"task is {name!r}; allowed: {', '.join(TASKS)}")
    shape = checks.image_shape(image_shape)
    if (mask is None) == (name == "inpaint"):
        raise InputError(
            "task 'inpaint' needs a mask" if mask is None else f"task {name!r} takes no mask"
        )
    match name:
        case "sr2" | "sr4" | "sr8":
            return SuperResolution(shape, int(name[2:]), rtol=rtol)
        case "sr4-bicubic":
            return BicubicSuperResolution(shape, 4, rtol=rtol)
        case "deblur-uniform":
            return SeparableBlur(shape, uniform_kernel(9), rtol=rtol)
        case "deblur-gauss":
            return SeparableBlur(shape, gaussian_kernel(13, 2.0), rtol=rtol)
        case "deblur-motion":
            kernel = motion_kernel(_motion_size(shape), 0.5, seed)
            return CircularBlur(shape, kernel, rtol=rtol)
        case "denoise":
            return Denoising(shape, rtol=rtol)
        case "colorize":
            return Colorization(shape, rtol=rtol)
        case "walsh-hadamard":
            return WalshHadamard(shape, ratio, seed, rtol=rtol)
    return Inpainting(shape, _mask(name, shape, mask, seed), rtol=rtol)


def _mask(name: str, shape: tuple[int, int, int], mask: Any, seed: int) -> Any:
    match name:
        case "half":
            return half_mask(shape)
        case "box":
            return box_mask(shape)
        case "random70":
            return random_mask(shape, 0.7, seed)
        case "random50":
            return random_mask(shape, 0.5, seed)
        case "expand":
            return expand_mask(shape)
        case "subsample2":
            return subsample_mask(shape)
        case "alternate-rows":
            return alternate_rows_mask(shape)
    return mask


def _motion_size(shape: tuple[int, int, int]) -> int:
    """The odd size nearest to 15/64 of the shorter side (of two, the larger), at least 3."""
    side = min(shape[1:])
    if side < 3:
        raise InputError(
            f"image_shape is {shape}; deblur-motion needs a height and a width of at least 3"
        )
    return max(3, 2 * (15 * side // 128) + 1)
