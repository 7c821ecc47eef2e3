"""A folder of images as one uint8 tensor, and the drawing of training batches from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.evaluation.files import PICTURE_SUFFIXES, Kind, inspect
from vml_fast.evaluation.images import MAX_PIXELS, fit, read_picture, to_uint8

OTHER_SUFFIXES = (".avif", ".bmp", ".gif", ".heic", ".ppm", ".tif", ".tiff")
"""Pictures that are not read; passing them over in silence would hide that they are missing."""
_SUFFIXES = ", ".join(PICTURE_SUFFIXES)


@dataclass(frozen=True)
class ImageFolder:
    """The images of one folder, in memory.

    Attributes:
        names: file names relative to the folder, sorted.
        images: ``(N, 3, size, size)`` uint8, 0 to 255.
    """

    names: list[str]
    images: Tensor


def read_image(path: Path, size: int) -> Tensor:
    """Read one picture as `read_picture` does: largest centered square, resized.

    Args:
        path: the file.
        size: side of the result in pixels.

    Returns:
        ``(3, size, size)`` uint8.

    Raises:
        InputError: unreadable, animated or too large.
    """
    try:
        pixels = read_picture(path).pixels
    except InputError as error:
        raise InputError(f"data must hold readable pictures, but {error}") from error
    if tuple(pixels.shape[-2:]) != (size, size):
        pixels = fit(pixels, (size, size))
    return to_uint8(pixels)


def load_image_folder(folder: Path, size: int) -> ImageFolder:
    """Read all PNG, JPEG and WebP pictures under a folder, subfolders included.

    Args:
        folder: holds pictures of any size.
        size: side of the square training images, in pixels.

    Raises:
        InputError: no such folder, fewer than two pictures, one that cannot be read, or one of
            another format.
    """
    if inspect(folder, "data") is not Kind.FOLDER:
        raise InputError(f"data must be an existing folder of images, got {folder}")
    if not 1 <= size**2 <= MAX_PIXELS:
        raise InputError(f"size must be in 1…{math.isqrt(MAX_PIXELS)}, got {size}")
    files = sorted(path for path in folder.rglob("*") if not path.name.startswith("."))
    other = next((path for path in files if path.suffix.lower() in OTHER_SUFFIXES), None)
    if other is not None:
        raise InputError(f"data must hold {_SUFFIXES} pictures only, got {other}")
    paths = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    if len(paths) < 2:
        raise InputError(
            f"data must hold at least 2 images ({_SUFFIXES}), got {len(paths)} in {folder}"
        )
    names = [path.relative_to(folder).as_posix() for path in paths]
    return ImageFolder(names, torch.stack([read_image(path, size) for path in paths]))


def to_model_range(images: Tensor) -> Tensor:
    """Map uint8 0..255 to float32 -1..1."""
    return images.float() / 127.5 - 1


def draw_batch(
    images: Tensor, groups: list[list[int]], batch: int, flip: bool, generator: torch.Generator
) -> Tensor:
    """Draw training images: a group uniformly, then a member, so that large groups do not dominate.

    Args:
        images: ``(N, 3, S, S)`` uint8.
        groups: image indices of each group.
        batch: B, number of images.
        flip: mirror each image left-right with probability one half.
        generator: of the CPU; its state alone decides the batch.

    Returns:
        ``(B, 3, S, S)`` float32 in [-1, 1].
    """
    chosen = torch.randint(len(groups), (batch,), generator=generator).tolist()
    position = torch.rand(batch, generator=generator).tolist()
    index = [groups[g][int(u * len(groups[g]))] for g, u in zip(chosen, position, strict=True)]
    drawn = to_model_range(images[index])
    if flip:
        mirrored = torch.rand(batch, generator=generator) < 0.5
        drawn = torch.where(mirrored[:, None, None, None], drawn.flip(-1), drawn)
    return drawn
