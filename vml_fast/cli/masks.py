"""Mask pictures of `--task inpaint`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.evaluation import images
from vml_fast.evaluation.files import Kind, inspect


@dataclass(frozen=True)
class MaskPicture:
    """A mask that was read from a picture.

    Attributes:
        path: where from, for messages.
        missing: (1, h, w) bool.
    """

    path: Path
    missing: Tensor

    def check_size(self, path: Path, height: int, width: int) -> None:
        """Raise an InputError unless the mask has the size of the picture at `path`."""
        rows, columns = self.missing.shape[-2:]
        if (rows, columns) != (height, width):
            raise InputError(
                f"mask {self.path} is {columns}×{rows} pixels "
                f"but input {path} is {width}×{height}; both must have the same size"
            )

    def known(self, height: int, width: int) -> Tensor:
        """The known pixels, (1, height, width) bool, of an image of this size.

        Raises:
            InputError: none is left.
        """
        missing = images.fit_mask(self.missing, (height, width))
        if bool(missing.all()):
            raise InputError(
                f"mask {self.path} hides every pixel once resized to {width}×{height}; "
                "use a larger image or a smaller hidden part"
            )
        return ~missing


def read_mask(task_name: str, path: Path | None, keep: str) -> MaskPicture | None:
    """The mask picture of an inpainting task; `keep` is the color, black or white, of known pixels.

    Raises:
        InputError: a mask without inpainting or the reverse, or one that hides all or nothing.
    """
    if (path is not None) != (task_name == "inpaint"):
        found = "is missing" if path is None else f"is {path}"
        raise InputError(
            f"--mask {found} with --task {task_name}; inpaint needs a mask, other tasks take none"
        )
    if path is None:
        return None
    if inspect(path, "mask") is not Kind.FILE:
        raise InputError(f"mask {path} is not a file; give a picture that is white where missing")
    white = images.read_mask(path)
    missing = white if keep == "black" else ~white
    if bool(missing.all()) or not bool(missing.any()):
        hidden = "every pixel" if bool(missing.all()) else "no pixel"
        raise InputError(
            f"mask {path} marks {hidden} as missing; some must be missing and some known "
            f"(--mask-keep is {keep})"
        )
    return MaskPicture(path, missing)
