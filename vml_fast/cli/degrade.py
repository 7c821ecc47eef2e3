"""`vml-fast degrade`: clean images in, measurements and pictures of them out."""

from __future__ import annotations

from typing import Annotated

import typer

from vml_fast.cli import options as opt


def degrade(
    inputs: opt.Inputs,
    task: opt.Task,
    output: opt.Output,
    noise_std: opt.NoiseStd = 0.0,
    seed: opt.Seed = 0,
    task_seed: opt.TaskSeed = 0,
    mask: opt.Mask = None,
    mask_keep: opt.Keep = opt.MaskKeep.black,
    size: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=opt.PROBLEM,
            help="Resize the center of pictures to SIZE×SIZE first.",
            show_default="as they are",
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
) -> None:
    """Degrade clean images: y = H x + noise.

    For each input NAME it writes measurements/NAME.npy, the exact y, and pictures/NAME.png, y
    rounded to 8 bits. `restore` takes either folder.
    """
    from vml_fast.cli.degrade_run import DegradeRun, DegradeSettings

    settings = DegradeSettings(
        task=task,
        noise_std=noise_std,
        seed=seed,
        task_seed=task_seed,
        mask=mask,
        mask_keep=mask_keep.value,
        size=size,
    )
    DegradeRun(inputs, settings, output, overwrite=overwrite).run()
