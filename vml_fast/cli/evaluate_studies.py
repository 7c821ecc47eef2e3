"""`vml-fast evaluate toy|traces|scaling|tau|latent`: studies of the method, a figure each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vml_fast.cli.options import Output, Seed


def toy(
    output: Output = Path("evaluation"),
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


def traces(
    output: Output = Path("evaluation"),
    samples: Annotated[
        int, typer.Option(help="Runs on the 2-D mixture; 1/16 of it on images.")
    ] = 192,
    side: Annotated[int, typer.Option(help="Pixels per side of the images, a divisor of 64.")] = 16,
) -> None:
    """What the traces change that VML-MAP drops from the loss: exact, Hutchinson, Hutch++.

    It runs the full descent on the 2-D mixture and on a mixture of small gray pictures, and writes
    traces.png, .md and .json.
    """
    from vml_fast.cli.evaluate_studies_run import run_traces

    run_traces(output, samples, side)


def scaling(
    output: Output = Path("evaluation"),
    images: Annotated[int, typer.Option(help="Images per blur.")] = 7,
) -> None:
    """Blurs of growing width: no preconditioner, both forms, and conjugate gradients.

    It writes scaling.png, .md and .json: how near each form comes to the posterior's modes, and
    after how many applications a decomposition of H has paid.
    """
    from vml_fast.cli.evaluate_studies_run import run_scaling

    run_scaling(output, images)


def tau(
    output: Output = Path("evaluation"),
    images: Annotated[int, typer.Option(help="Images per noise level.")] = 8,
) -> None:
    """Noisy data: quality against tau / sigma_y, and the artifacts at low noise levels.

    It writes tau.png, .md and .json.
    """
    from vml_fast.cli.evaluate_studies_run import run_tau

    run_tau(output, images)


def latent(
    prior: Annotated[
        str, typer.Option(help="Latent prior: an embedded name or a folder.")
    ] = "emoji64-latent",
    output: Output = Path("evaluation"),
    images: Annotated[int, typer.Option(help="Held-out emoji per task.")] = 8,
    pixels: Annotated[
        str, typer.Option(help="Prior of images to compare with, in pixel space.")
    ] = "emoji64",
    noise_std: Annotated[float, typer.Option(help="Noise of the measurement.")] = 0.0,
) -> None:
    """VML-MAP in latent space: the plain gradient, its cures, and pixel space beside them.

    4x super-resolution, half mask and Gaussian deblurring, at equal network passes. It
    writes latent.png, .md and .json.
    """
    from vml_fast.cli.evaluate_studies_run import run_latent

    run_latent(output, prior, images, pixels, noise_std)
