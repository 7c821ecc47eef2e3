"""Input files as images of the shape that is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.evaluation import images
from vml_fast.evaluation.files import ARRAY_SUFFIX

RANGE_SLACK = 1e-3
"""How far beyond [-1, 1] a clean image may be, from rounding."""

ImageShape = tuple[int, int, int]
CheckSize = Callable[[Path, int, int], None]


def read_clean(
    path: Path,
    image_shape: ImageShape | None,
    *,
    resize: bool,
    check_size: CheckSize | None = None,
) -> Tensor:
    """A clean image from a picture or a `.npy` file.

    Args:
        path: the file.
        image_shape: (C, H, W) that is wanted; None takes the file's.
        resize: whether a picture (not an array) of another size is resized, its center.
        check_size: called with the path, the height and the width of the file.

    Returns:
        (C, H, W) float32 in [-1, 1].

    Raises:
        InputError: unreadable, of another size (unless `resize`), or outside [-1, 1].
    """
    is_array = path.suffix.lower() == ARRAY_SUFFIX
    pixels = _clean_array(path, image_shape) if is_array else images.read_picture(path).pixels
    if check_size is not None:
        check_size(path, *pixels.shape[-2:])
    if image_shape is None or is_array:
        return pixels
    pixels = with_channels(pixels, image_shape[0], path)
    if tuple(pixels.shape[-2:]) == image_shape[1:]:
        return pixels
    if not resize:
        raise wrong_size(path, pixels, image_shape)
    return images.fit(pixels, image_shape[1:])


def _clean_array(path: Path, image_shape: ImageShape | None) -> Tensor:
    values = images.read_array(path)
    if values.ndim != 3 or (image_shape is not None and tuple(values.shape) != image_shape):
        raise InputError(
            f"input {path} has the shape {tuple(values.shape)}; "
            f"a clean image must be {image_shape or '(C, H, W)'}"
        )
    low, high = float(values.min()), float(values.max())
    if max(-low, high) > 1.0 + RANGE_SLACK:
        raise InputError(
            f"input {path} has values from {low:.3g} to {high:.3g}; "
            "a clean image must be in [-1, 1]"
        )
    return values


def with_channels(pixels: Tensor, channels: int, path: Path) -> Tensor:
    """A picture (3, H, W) with the wanted number of channels: itself, or their mean.

    Raises:
        InputError: pictures have no such number of channels.
    """
    if channels == 3:
        return pixels
    if channels == 1:
        return pixels.mean(dim=0, keepdim=True)
    raise InputError(f"input {path} is a picture, but {channels} channels are needed; give .npy")


def wrong_size(
    path: Path, pixels: Tensor, shape: tuple[int, ...], otherwise: str = ""
) -> InputError:
    """What to raise for a picture of another size than `shape` (C, H, W)."""
    height, width = pixels.shape[-2:]
    return InputError(
        f"input {path} is {width}×{height} pixels but {shape[2]}×{shape[1]} are needed; "
        f"pass --resize to resize its center{otherwise}"
    )
