"""`vml-fast evaluate toy|traces|scaling|tau`: studies of the method, each with one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vml_fast.cli.options import RESULTS

StudyOutput = Annotated[
    Path,
    typer.Option(
        "--output", "-o", rich_help_panel=RESULTS, help="Folder for the figure and the numbers."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]


def toy(
    output: StudyOutput = Path("evaluation"),
    samples: Annotated[int, typer.Option(help="Samples of each method.")] = 400,
    noise_std: Annotated[float, typer.Option(help="Noise of the measurement.")] = 0.3,
    seed: Seed = 0,
) -> None:
    """Samples of every method over the exact posterior of a 2-D Gaussian mixture.

    It writes toy.png, and prints and writes (toy.json, toy.md) the distance to the posterior's
    modes, how its modes are covered, and how far below them the samples lie.
    """
    from vml_fast.cli.evaluate_studies_run import run_toy

    run_toy(output, samples, noise_std, seed)
