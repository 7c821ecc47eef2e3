"""Options that `profile` and `bench` share; as in `options`, without importing torch."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from vml_fast.cli.options import MACHINE, METHOD, METHOD_NAMES, PROBLEM, TASK_NAMES

NAMED_TASKS = tuple(name for name in TASK_NAMES if name != "inpaint")


class Switch(StrEnum):
    """Left to the library, or said."""

    auto = "auto"
    on = "on"
    off = "off"


Task = Annotated[
    str,
    typer.Option(
        rich_help_panel=PROBLEM,
        help=f"How the images are degraded: {', '.join(NAMED_TASKS)}.",
    ),
]
NoiseStd = Annotated[
    float,
    typer.Option(
        rich_help_panel=PROBLEM, help="Standard deviation of the noise in the measurement."
    ),
]
Prior = Annotated[
    str,
    typer.Option(
        rich_help_panel=METHOD, help="Diffusion prior: an embedded name, a folder or a file."
    ),
]
Method = Annotated[
    str, typer.Option(rich_help_panel=METHOD, help=f"One of {', '.join(METHOD_NAMES)}.")
]
Steps = Annotated[int, typer.Option(rich_help_panel=METHOD, help="Noise levels N.")]
InnerSteps = Annotated[
    int, typer.Option(rich_help_panel=METHOD, help="Gradient steps K per noise level.")
]
BatchSize = Annotated[int, typer.Option(rich_help_panel=MACHINE, help="Images restored together.")]
Device = Annotated[str, typer.Option(rich_help_panel=MACHINE, help="auto, cpu, cuda, cuda:1, …")]
Backend = Annotated[
    str,
    typer.Option(
        rich_help_panel=MACHINE, help="Compiled ops: auto, reference, cpp, triton or cuda."
    ),
]
