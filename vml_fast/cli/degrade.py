"""`vml-fast degrade`: clean images in, measurements and pictures of them out."""

from __future__ import annotations

from typing import Annotated

import typer

from vml_fast.cli.options import (
    PROBLEM,
    Inputs,
    Keep,
    Mask,
    MaskKeep,
    Output,
    Overwrite,
    Task,
    TaskSeed,
)


def degrade(
    inputs: Inputs,
    task: Task,
    output: Output,
    noise_std: Annotated[
        float,
        typer.Option(
            rich_help_panel=PROBLEM,
            help="Standard deviation of the added noise, images in [-1, 1].",
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(rich_help_panel=PROBLEM, help="Seed of the noise.")] = 0,
    task_seed: TaskSeed = 0,
    mask: Mask = None,
    mask_keep: Keep = MaskKeep.black,
    size: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=PROBLEM,
            help="Resize the center of pictures to SIZE×SIZE first.",
            show_default="as they are",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Degrade clean images: y = H x + noise.

    For each input NAME it writes measurements/NAME.npy, the exact y, and pictures/NAME.png, y
    rounded to 8 bits. `restore` takes either folder.
    """
    from vml_fast.cli.degrade_run import Settings, run

    settings = Settings(
        task=task,
        noise_std=noise_std,
        seed=seed,
        task_seed=task_seed,
        mask=mask,
        mask_keep=mask_keep.value,
        size=size,
    )
    run(inputs, settings, output, overwrite=overwrite)
