"""Masks of the literature: (1, H, W), boolean, True = observed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vml_fast.checks import check_count, check_number
from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.draws import permutation

_SIDES = ("left", "right", "top", "bottom")


def half_mask(image_shape: tuple[int, int, int], side: str = "right") -> Tensor:
    """Hide one half: `side` is left, right, top or bottom; of an odd number, the smaller half."""
    _, height, width = checks.image_shape(image_shape)
    if side not in _SIDES:
        raise InputError(f"side is {side!r}; allowed: {', '.join(_SIDES)}")
    vertical = side in ("top", "bottom")
    hidden = (height if vertical else width) // 2
    mask = torch.ones(1, height, width, dtype=torch.bool)
    start = 0 if side in ("top", "left") else mask.shape[1 if vertical else 2] - hidden
    mask.narrow(1 if vertical else 2, start, hidden).fill_(False)
    return mask


def box_mask(image_shape: tuple[int, int, int], width: float = 0.5) -> Tensor:
    """Hide the central box whose sides are `width` times the image's, in (0, 1)."""
    return _box(image_shape, width)


def expand_mask(image_shape: tuple[int, int, int], width: float = 0.25) -> Tensor:
    """Keep only the central box whose sides are `width` times the image's, in (0, 1)."""
    return ~_box(image_shape, width)


def random_mask(image_shape: tuple[int, int, int], missing: float = 0.7, seed: int = 0) -> Tensor:
    """Hide round(missing·H·W) pixels drawn without replacement by `seed`, in all channels alike."""
    _, height, width = checks.image_shape(image_shape)
    missing = check_number("missing", missing, 0, 1)
    hidden = round(missing * height * width)
    if hidden == height * width:
        raise InputError(
            f"missing is {missing}, which hides all {hidden} pixels; allowed: at least one observed"
        )
    mask = torch.ones(height * width, dtype=torch.bool)
    mask[torch.from_numpy(permutation(height * width, seed)[:hidden])] = False
    return mask.view(1, height, width)


def subsample_mask(image_shape: tuple[int, int, int], factor: int = 2) -> Tensor:
    """Keep the pixels whose row and column are multiples of `factor`."""
    _, height, width = checks.image_shape(image_shape)
    factor = check_count("factor", factor, 1)
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, ::factor, ::factor] = True
    return mask


def alternate_rows_mask(image_shape: tuple[int, int, int]) -> Tensor:
    """Keep the even rows: 0, 2, 4 and so on."""
    _, height, width = checks.image_shape(image_shape)
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, ::2] = True
    return mask


def _box(image_shape: tuple[int, int, int], width: Any) -> Tensor:
    """False in the central box."""
    _, height, columns = checks.image_shape(image_shape)
    width = check_number("width", width, 0, 1, low_open=True, high_open=True)
    rows, sides = round(width * height), round(width * columns)
    if not 0 < rows * sides < height * columns:
        raise InputError(
            f"width is {width}, a box of {rows} × {sides} in an image of {height} × {columns}; "
            f"allowed: at least one pixel inside and one outside"
        )
    top, left = (height - rows) // 2, (columns - sides) // 2
    mask = torch.ones(1, height, columns, dtype=torch.bool)
    mask[:, top : top + rows, left : left + sides] = False
    return mask
