"""Options that `restore` and `degrade` share, and the names that the help lists.

The names are written out here, and compared with the library's by a test, so that `--help` need not
import torch.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

TASK_NAMES = (
    "sr2", "sr4", "sr8", "sr4-bicubic", "half", "box", "random70", "random50", "expand",
    "subsample2", "alternate-rows", "deblur-uniform", "deblur-gauss", "deblur-motion", "denoise",
    "colorize", "walsh-hadamard", "inpaint",
)  # fmt: skip
# Headings of the help.
PROBLEM, METHOD, RESULTS, MACHINE = "Problem", "Method", "Results", "Machine"
METHOD_NAMES = ("vml-map", "vml-map-pre", "vml-map-tau", "vml-map-tau-pre")


class MaskKeep(StrEnum):
    """Which part of a mask picture is kept, that is observed."""

    black = "black"
    white = "white"


def given_path(text: str) -> Path:
    """A path on the command line; Python takes an empty one for the current folder.

    Raises:
        typer.BadParameter: the text is empty; typer adds the name of the option.
    """
    if not text:
        raise typer.BadParameter("the path is empty; give a path, or . for the current folder")
    return Path(text)


Inputs = Annotated[
    list[Path],
    typer.Argument(
        parser=given_path,
        metavar="INPUT",
        help="PNG, JPEG, WebP or .npy files, and folders of them (not searched recursively).",
        show_default=False,
    ),
]
Task = Annotated[
    str,
    typer.Option(
        rich_help_panel=PROBLEM,
        help=f"How the images are degraded: {', '.join(TASK_NAMES)}.",
        show_default=False,
    ),
]
TaskSeed = Annotated[
    int,
    typer.Option(
        rich_help_panel=PROBLEM,
        help="Seed of the task itself (random mask, motion kernel); the same for `degrade` and "
        "`restore`.",
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=PROBLEM,
        parser=given_path,
        metavar="M.png",
        help="Mask picture for --task inpaint, of the input's size: white = missing.",
        show_default=False,
    ),
]
Keep = Annotated[
    MaskKeep,
    typer.Option(rich_help_panel=PROBLEM, help="Color of the mask where pixels are known."),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        parser=given_path,
        rich_help_panel=RESULTS,
        help="Folder for the results; made where missing.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        rich_help_panel=RESULTS,
        help="Replace the results that are already in --output.",
    ),
]
