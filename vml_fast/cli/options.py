"""The options that several commands share, and the names that the help lists.

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
NAMED_TASKS = tuple(name for name in TASK_NAMES if name != "inpaint")
"""The tasks that need no mask picture."""
METHOD_NAMES = ("vml-map", "vml-map-pre", "vml-map-tau", "vml-map-tau-pre")
DTYPE_NAMES = ("auto", "float32", "float64", "bfloat16", "float16")
# Headings of the help.
PROBLEM, METHOD, RESULTS, MACHINE = "Problem", "Method", "Results", "Machine"


class MaskKeep(StrEnum):
    """Which part of a mask picture is kept, that is observed."""

    black = "black"
    white = "white"


class Switch(StrEnum):
    """Left to the library, or said."""

    auto = "auto"
    on = "on"
    off = "off"


def given_path(text: str) -> Path:
    """A path on the command line; Python takes an empty one for the current folder.

    Raises:
        typer.BadParameter: the text is empty; typer adds the name of the option.
    """
    if not text:
        raise typer.BadParameter("the path is empty; give a path, or . for the current folder")
    return Path(text)


# What is annotated with other types by commands where the option may be left out.
OUTPUT = typer.Option(
    "--output",
    "-o",
    parser=given_path,
    metavar="FOLDER",
    rich_help_panel=RESULTS,
    help="Folder for the results; made where missing.",
)
PRIOR = typer.Option(
    rich_help_panel=METHOD, help="Diffusion prior: an embedded name, a folder or a file."
)

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
NamedTask = Annotated[
    str,
    typer.Option(
        rich_help_panel=PROBLEM, help=f"How the images are degraded: {', '.join(NAMED_TASKS)}."
    ),
]
NoiseStd = Annotated[
    float,
    typer.Option(
        rich_help_panel=PROBLEM,
        help="Standard deviation of the noise in the measurement, images in [-1, 1].",
    ),
]
Seed = Annotated[int, typer.Option(rich_help_panel=PROBLEM, help="Seed of the random numbers.")]
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
Resize = Annotated[
    bool,
    typer.Option(
        "--resize",
        rich_help_panel=PROBLEM,
        help="Resize pictures (their center) to the size that is needed.",
    ),
]
Prior = Annotated[str, PRIOR]
Method = Annotated[
    str, typer.Option(rich_help_panel=METHOD, help=f"One of {', '.join(METHOD_NAMES)}.")
]
Steps = Annotated[int, typer.Option(rich_help_panel=METHOD, help="Noise levels N.")]
InnerSteps = Annotated[
    int, typer.Option(rich_help_panel=METHOD, help="Gradient steps K per noise level.")
]
BatchSize = Annotated[int, typer.Option(rich_help_panel=MACHINE, help="Images computed together.")]
Device = Annotated[str, typer.Option(rich_help_panel=MACHINE, help="auto, cpu, cuda, cuda:1, …")]
Dtype = Annotated[
    str,
    typer.Option(
        rich_help_panel=MACHINE, help=f"Precision of the network: {', '.join(DTYPE_NAMES)}."
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        rich_help_panel=MACHINE, help="Compiled ops: auto, reference, cpp, triton or cuda."
    ),
]
Output = Annotated[Path, OUTPUT]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        rich_help_panel=RESULTS,
        help="Replace the results that are already in --output.",
    ),
]
