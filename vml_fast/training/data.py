"""A folder of images as one uint8 tensor, and the drawing of training batches from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from vml_fast.errors import InputError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class ImageFolder:
    """The images of one folder, in memory.

    Attributes:
        names: file names relative to the folder, sorted.
        images: ``(N, 3, size, size)`` uint8, 0 to 255.
    """

    names: list[str]
    images: Tensor


def read_image(path: Path, size: int) -> np.ndarray:
    """Read one picture: transparency on white, largest centred square, resized.

    Args:
        path: the file.
        size: side of the result in pixels.

    Returns:
        ``(size, size, 3)`` uint8.

    Raises:
        InputError: the file cannot be read as an image.
    """
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file).convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"data must hold readable images, got {path} ({error})") from error
    canvas = Image.new("RGBA", picture.size, "white")
    canvas.alpha_composite(picture)
    square = canvas.convert("RGB")
    if square.size != (size, size):
        square = ImageOps.fit(square, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(square)


def load_image_folder(folder: Path, size: int) -> ImageFolder:
    """Read all images under a folder, subfolders included.

    Args:
        folder: holds pictures of any size in the formats of `IMAGE_SUFFIXES`.
        size: side of the square training images, in pixels.

    Raises:
        InputError: no such folder, fewer than two images, or one that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"data must be an existing folder of images, got {folder}")
    if size < 1:
        raise InputError(f"size must be positive, got {size}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if len(paths) < 2:
        raise InputError(
            f"data must hold at least 2 images ({' '.join(IMAGE_SUFFIXES)}), "
            f"got {len(paths)} in {folder}"
        )
    pixels = np.stack([read_image(path, size) for path in paths])
    names = [path.relative_to(folder).as_posix() for path in paths]
    return ImageFolder(names, torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())


def to_model_range(images: Tensor) -> Tensor:
    """Map uint8 0..255 to float32 -1..1."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Map float -1..1 to uint8 0..255, clipped and rounded."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


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
