"""Pictures and arrays: read with limits into [-1, 1] tensors, written clipped to 8 bits.

How pictures are read:
* the EXIF orientation is applied, color profiles are ignored;
* transparency is composited on white; palette, gray, CMYK and 1-bit pictures become RGB;
* gray 16-bit pictures keep their 16 bits, 16-bit color is read as 8-bit;
* black is -1, white is 1; where one channel is wanted it is the mean of the three;
* files are read by content, so a wrong suffix does not matter; only PNG, JPEG and WebP are decoded.
"""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from vml_fast.errors import InputError, one_line
from vml_fast.evaluation.files import write_whole

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000
"""A picture with more pixels is an error: it would need gigabytes as float32."""


class Picture(NamedTuple):
    """A picture that was read.

    Attributes:
        pixels: (3, H, W) float32 in [-1, 1].
        rounding_std: standard deviation of the rounding to its integer levels, in the units of
            `pixels`: a uniform error of one step q has q/sqrt(12), q = 2/255 for 8 bits.
    """

    pixels: Tensor
    rounding_std: float


def rounding_std(levels: int) -> float:
    """Standard deviation of rounding [-1, 1] to 0…`levels`: 1/(127.5 sqrt(12)) for 255."""
    return 2.0 / levels / math.sqrt(12.0)


def read_picture(path: Path) -> Picture:
    """Read a PNG, JPEG or WebP file as the module's description says.

    Raises:
        InputError: unreadable, truncated, empty, animated, or more than `MAX_PIXELS` pixels.
    """
    image = _decode(path)
    if image.mode.startswith("I"):
        gray = np.asarray(image).astype(np.float32)
        pixels = torch.from_numpy(np.clip(gray, 0, 65535) / 32767.5 - 1.0)
        return Picture(pixels.expand(3, -1, -1).contiguous(), rounding_std(65535))
    return Picture(_from_uint8(np.array(_on_white(image))), rounding_std(255))


def read_mask(path: Path) -> Tensor:
    """Read a mask picture, True where it is white (brighter than middle gray).

    Returns:
        (1, H, W) bool.

    Raises:
        InputError: see `read_picture`.
    """
    return read_picture(path).pixels.mean(dim=0, keepdim=True) > 0


def read_array(path: Path) -> Tensor:
    """Read a `.npy` file of finite floating-point numbers, never a pickled one.

    Returns:
        float32, of the file's shape.

    Raises:
        InputError: unreadable, truncated, pickled, empty, too large, not floating-point, or not
            finite.
    """
    try:
        # Mapped, so that a header that promises terabytes is found out without allocating them.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, SyntaxError) as error:
        pickled = "pickle" in str(error) or "Python objects" in str(error)
        reason = "it holds pickled objects or text, which are never read" if pickled else error
        raise InputError(f"{path} is not a readable .npy array: {one_line(reason)}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive of arrays; it must hold a single .npy array")
    if array.dtype.kind != "f":
        raise InputError(
            f"{path} holds {array.dtype} numbers; it must be floating-point, in [-1, 1]"
        )
    if not 0 < array.size <= 3 * MAX_PIXELS:
        raise InputError(f"{path} holds {array.size} numbers; allowed are 1 to {3 * MAX_PIXELS}")
    if not bool(np.isfinite(array).all()):
        raise InputError(f"{path} holds NaN or infinity; all values must be finite")
    largest = float(np.abs(array).max())
    if largest > float(np.finfo(np.float32).max):
        raise InputError(
            f"{path} holds the value {largest:.3g}, beyond the range of float32; images are in "
            "[-1, 1]"
        )
    return torch.from_numpy(np.array(array, dtype=np.float32))


def write_picture(path: Path, pixels: Tensor) -> None:
    """Write a PNG, in one piece; values outside [-1, 1] are clipped.

    Args:
        path: the file.
        pixels: (1|3, H, W).
    """
    array = to_uint8(pixels).permute(1, 2, 0).numpy()
    picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    write_whole(path, lambda file: picture.save(file, format="PNG"))


def write_array(path: Path, values: Tensor) -> None:
    """Write a float32 `.npy` file, in one piece."""
    array = values.detach().cpu().float().numpy()
    write_whole(path, lambda file: np.save(file, array, allow_pickle=False))


def to_uint8(pixels: Tensor) -> Tensor:
    """[-1, 1] to 0…255: clipped and rounded, on the CPU."""
    scaled = (pixels.detach().cpu().float() + 1.0) * 127.5
    return scaled.round().clamp(0, 255).to(torch.uint8)


def fit(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest centered part with the aspect of `size`, resized (bicubic, antialiased).

    Args:
        pixels: (C, H, W) in [-1, 1].
        size: height and width wanted.

    Returns:
        (C, *size) in [-1, 1].
    """
    part = _center(pixels, size)[None]
    resized = F.interpolate(part, size, mode="bicubic", antialias=True, align_corners=False)
    return resized[0].clamp(-1.0, 1.0)


def fit_cells(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """`fit` for a picture with hidden pixels: plain averages over the cells of `fit_mask`.

    So no hidden value leaks into a known pixel, as it would through a bicubic filter.
    """
    return F.adaptive_avg_pool2d(_center(pixels, size)[None], size)[0]


def fit_mask(missing: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask resized as `fit_cells` does: a cell with one missing pixel is missing.

    Args:
        missing: (1, H, W) bool.
        size: height and width wanted.

    Returns:
        (1, *size) bool.
    """
    return F.adaptive_max_pool2d(_center(missing, size).float()[None], size)[0] > 0


def _center(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = pixels.shape[-2:]
    rows = min(height, max(1, round(width * size[0] / size[1])))
    columns = min(width, max(1, round(height * size[1] / size[0])))
    top, left = (height - rows) // 2, (width - columns) // 2
    return pixels[..., top : top + rows, left : left + columns]


def _decode(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # The limit below is ours; Pillow's warning about the same thing would be noise.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as file:
                _check_header(path, file)
                file.load()
                return ImageOps.exif_transpose(file)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        counted = re.search(r"\d+", str(error))
        count = f"{int(counted[0]):,} pixels, " if counted else ""
        raise InputError(
            f"{path} has {count}more than the {MAX_PIXELS:,} pixels allowed"
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} cannot be read as a PNG, JPEG or WebP picture") from error
    except Exception as error:  # decoders raise nearly anything on broken files
        raise InputError(f"{path} cannot be read as a picture: {one_line(error)}") from error


def _check_header(path: Path, file: Image.Image) -> None:
    width, height = file.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path} is {width}×{height} pixels; at most {MAX_PIXELS:,} pixels are allowed"
        )
    # A JPEG with several frames (MPO) is a photograph with its previews: the first is the picture.
    if file.format != "MPO" and getattr(file, "n_frames", 1) > 1:
        raise InputError(f"{path} is animated; it must be a still picture")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and "transparency" not in image.info:
        return image.convert("RGB")
    color = image.convert("RGBA")
    canvas = Image.new("RGBA", color.size, "white")
    canvas.alpha_composite(color)
    return canvas.convert("RGB")


def _from_uint8(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).permute(2, 0, 1).float().div(127.5).sub(1.0).contiguous()
