"""The images of a comparison, each with the index that its random numbers belong to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.evaluation import images as pictures
from vml_fast.evaluation.files import find_inputs
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.inputs import read_clean

HELDOUT = "emoji64-heldout"
"""Name of the embedded data set."""


@dataclass(frozen=True)
class DataSet:
    """Clean images.

    Attributes:
        name: for the reports.
        names: (B) names of the images.
        images: (B, C, H, W) float32 in [-1, 1].
        index: (B,) int64: with the seed the key of an image's random numbers, so that a part of a
            data set gives what the whole gives.
    """

    name: str
    names: list[str]
    images: Tensor
    index: Tensor

    def part(self, count: int) -> DataSet:
        """`count` images, spread evenly over all."""
        rows = spread(len(self.names), count)
        names = [self.names[i] for i in rows]
        return DataSet(self.name, names, self.images[rows], self.index[rows])

    def digest(self) -> str:
        """Of names, indices and pixels."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        digest.update(self.index.numpy().tobytes())
        digest.update(self.images.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def spread(total: int, count: int) -> list[int]:
    """`count` of `total` rows, evenly spread, the first among them.

    Raises:
        InputError: more are wanted than there are, or none.
    """
    if not 1 <= count <= total:
        raise InputError(f"images is {count}; it must be 1 to {total} of this data set")
    return [i * total // count for i in range(count)]


def load_dataset(
    name_or_folder: str | Path,
    image_shape: tuple[int, int, int],
    count: int | None = None,
    *,
    resize: bool = False,
) -> DataSet:
    """Images of the shape that a prior takes.

    Args:
        name_or_folder: `HELDOUT`, or a folder (or one file) of pictures or `.npy` arrays.
        image_shape: (C, H, W) that is wanted.
        count: how many, spread evenly over the sorted names; all by default.
        resize: whether pictures of another size are cropped and resized.

    Raises:
        InputError: unreadable, too few, or of another size.
    """
    if str(name_or_folder) == HELDOUT:
        names, images = heldout_emoji()
        if image_shape != tuple(images.shape[1:]):
            if not resize or image_shape[0] != 3:
                raise InputError(
                    f"data {HELDOUT} holds images of {tuple(images.shape[1:])}, but the prior "
                    f"takes {image_shape}; pass a folder of such images, or resize"
                )
            images = torch.stack([pictures.fit(image, image_shape[1:]) for image in images])
        rows = spread(len(names), len(names) if count is None else count)
        return _dataset(HELDOUT, [names[i] for i in rows], images[rows])
    folder = Path(name_or_folder)
    paths = find_inputs([folder])
    chosen = [paths[i] for i in spread(len(paths), len(paths) if count is None else count)]
    images = torch.stack([read_clean(path, image_shape, resize=resize) for path in chosen])
    return _dataset(folder.name, [path.stem for path in chosen], images)


def _dataset(name: str, names: list[str], images: Tensor) -> DataSet:
    return DataSet(name, names, images, torch.arange(len(names)))
