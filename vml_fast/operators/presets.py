"""Tasks as published: each with its operator, its noise and what exactly it is.

Noise is in units of y for images in [-1, 1]. DDRM states its noise for images in [0, 1] and
doubles it when it rescales them, so its .05 is .1 here. DPS and DAPS add their .05 to images that
are already in [-1, 1]. MAP-GA's tasks (Table 1) are noiseless.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.bicubic import BicubicSuperResolution
from vml_fast.operators.circular_blur import CircularBlur
from vml_fast.operators.colorization import Colorization
from vml_fast.operators.denoising import Denoising
from vml_fast.operators.inpainting import Inpainting
from vml_fast.operators.kernels import gaussian_kernel, motion_kernel, uniform_kernel
from vml_fast.operators.linear_operator import LinearOperator
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

Shape = tuple[int, int, int]
_DOUBLED = "; noise .05 for [0, 1], doubled to .1 for [-1, 1]"
_DIRECT = "; noise .05 in [-1, 1]"
_NONE = "; noiseless"


class Preset(NamedTuple):
    """A published task: its operator, the noise in units of y (images in [-1, 1]), in words."""

    operator: LinearOperator
    noise_std: float
    definition: str


class _Recipe(NamedTuple):
    make: Callable[[Shape, int], LinearOperator]
    noise_std: float
    definition: str


def _inpainting(mask: Callable[..., object], *args: object, seeded: bool = False) -> Callable:
    def make(shape: Shape, seed: int) -> LinearOperator:
        return Inpainting(shape, mask(shape, *args, seed) if seeded else mask(shape, *args))

    return make


def _ddrm(make: Callable[[Shape], LinearOperator], words: str) -> _Recipe:
    return _Recipe(lambda shape, seed: make(shape), 0.1, words + _DOUBLED)


def _map_ga(mask: Callable[..., object], *args: object, words: str) -> _Recipe:
    return _Recipe(_inpainting(mask, *args), 0.0, words + _NONE)


def _gaussian_61(shape: Shape, seed: int) -> LinearOperator:
    return SeparableBlur(shape, gaussian_kernel(61, 3.0))


def _motion_61(shape: Shape, seed: int) -> LinearOperator:
    return CircularBlur(shape, motion_kernel(61, 0.5, seed))


_GAUSSIAN_61 = "Gaussian blur, 61 × 61 taps, std 3; zero border here, mirrored in the original"
_MOTION_61 = (
    "motion blur, 61 × 61 taps, intensity .5, drawn by the seed; path model and periodic border "
    "are ours, the original mirrors"
)
_BOX = "central box of half the sides hidden (128 of 256; the original draws its place)"

_RECIPES: dict[str, _Recipe] = {
    "ddrm/denoise": _ddrm(Denoising, "the image itself"),
    "ddrm/sr2": _ddrm(lambda shape: SuperResolution(shape, 2), "mean of 2×2 blocks"),
    "ddrm/sr4": _ddrm(lambda shape: SuperResolution(shape, 4), "mean of 4×4 blocks"),
    "ddrm/sr8": _ddrm(lambda shape: SuperResolution(shape, 8), "mean of 8×8 blocks"),
    "ddrm/sr16": _ddrm(lambda shape: SuperResolution(shape, 16), "mean of 16×16 blocks"),
    "ddrm/deblur_uni": _ddrm(
        lambda shape: SeparableBlur(shape, uniform_kernel(9)),
        "uniform blur, 9 × 9 taps, zero border (all nine taps; the original's code loses the last)",
    ),
    "ddrm/deblur_gauss": _ddrm(
        lambda shape: SeparableBlur(shape, gaussian_kernel(5, 10.0)),
        "Gaussian blur, 5 × 5 taps, std 10, zero border (all five taps; the original's code loses "
        "the last)",
    ),
    "ddrm/deblur_aniso": _ddrm(
        lambda shape: SeparableBlur(shape, gaussian_kernel(9, 1.0), gaussian_kernel(9, 20.0)),
        "Gaussian blur, 9 × 9 taps, std 1 along the height and 20 along the width, zero border",
    ),
    "ddrm/color": _ddrm(Colorization, "mean of the color channels"),
    "ddrm/inp_random": _Recipe(
        _inpainting(random_mask, 0.5, seeded=True),
        0.1,
        "half of the pixels hidden, drawn by the seed" + _DOUBLED,
    ),
    "ddrm/cs4": _Recipe(
        lambda shape, seed: WalshHadamard(shape, 1 / 4, seed),
        0.1,
        "a quarter of the Walsh–Hadamard coefficients, drawn by the seed" + _DOUBLED,
    ),
    "daps/down_sampling": _Recipe(
        lambda shape, seed: BicubicSuperResolution(shape, 4),
        0.05,
        "antialiased bicubic reduction by 4" + _DIRECT,
    ),
    "daps/inpainting": _Recipe(_inpainting(box_mask, 0.5), 0.05, _BOX + _DIRECT),
    "daps/inpainting_rand": _Recipe(
        _inpainting(random_mask, 0.7, seeded=True),
        0.05,
        "70 % of the pixels hidden, drawn by the seed" + _DIRECT,
    ),
    "daps/gaussian_blur": _Recipe(_gaussian_61, 0.05, _GAUSSIAN_61 + _DIRECT),
    "daps/motion_blur": _Recipe(_motion_61, 0.05, _MOTION_61 + _DIRECT),
    "dps/super_resolution": _Recipe(
        lambda shape, seed: BicubicSuperResolution(shape, 4),
        0.05,
        "antialiased bicubic reduction by 4" + _DIRECT,
    ),
    "dps/inpainting_box": _Recipe(_inpainting(box_mask, 0.5), 0.05, _BOX + _DIRECT),
    "dps/inpainting_random": _Recipe(
        _inpainting(random_mask, 0.92, seeded=True),
        0.05,
        "92 % of the pixels hidden, drawn by the seed" + _DIRECT,
    ),
    "dps/gaussian_blur": _Recipe(_gaussian_61, 0.05, _GAUSSIAN_61 + _DIRECT),
    "dps/motion_blur": _Recipe(_motion_61, 0.05, _MOTION_61 + _DIRECT),
    "map-ga/half": _map_ga(half_mask, words="right half hidden"),
    "map-ga/box50": _map_ga(box_mask, 0.5, words="central box of half the sides hidden"),
    "map-ga/box25": _map_ga(box_mask, 0.25, words="central box of a quarter of the sides hidden"),
    "map-ga/expand": _map_ga(
        expand_mask, 0.25, words="all but the central box of a quarter of the sides hidden"
    ),
    "map-ga/subsample2": _map_ga(
        subsample_mask, 2, words="only pixels of even row and column observed"
    ),
    "map-ga/alternate_rows": _map_ga(alternate_rows_mask, words="only even rows observed"),
    "map-ga/sr4": _Recipe(
        lambda shape, seed: SuperResolution(shape, 4), 0.0, "mean of 4×4 blocks" + _NONE
    ),
}

PRESETS: dict[str, str] = {name: recipe.definition for name, recipe in _RECIPES.items()}


def preset(name: str, image_shape: Shape, *, seed: int = 0) -> Preset:
    """Make a published task.

    Args:
        name: a key of `PRESETS`, whose value is the definition.
        image_shape: (C, H, W); the originals are 3 × 256 × 256 (MAP-GA: 3 × 64 × 64).
        seed: draws random masks, motion kernels and coefficient selections.

    Raises:
        InputError: an unknown name, or a shape that the definition does not allow.
    """
    if name not in _RECIPES:
        raise InputError(f"preset is {name!r}; allowed: {', '.join(PRESETS)}")
    recipe = _RECIPES[name]
    return Preset(
        recipe.make(checks.image_shape(image_shape), seed), recipe.noise_std, recipe.definition
    )
