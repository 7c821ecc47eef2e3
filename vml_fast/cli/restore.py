"""`vml-fast restore`: degraded images in, restored images, figures and a JSON record out."""

from __future__ import annotations

from typing import Annotated

import typer

from vml_fast.cli.options import (
    MACHINE,
    METHOD,
    METHOD_NAMES,
    PROBLEM,
    RESULTS,
    Inputs,
    Keep,
    Mask,
    MaskKeep,
    Output,
    Overwrite,
    Task,
    TaskSeed,
)


def restore(
    inputs: Inputs,
    task: Task,
    output: Output,
    prior: Annotated[
        str,
        typer.Option(
            rich_help_panel=METHOD, help="Diffusion prior: an embedded name, a folder or a file."
        ),
    ] = "emoji64",
    method: Annotated[
        str, typer.Option(rich_help_panel=METHOD, help=f"One of {', '.join(METHOD_NAMES)}.")
    ] = "vml-map-pre",
    noise_std: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=PROBLEM,
            help="Standard deviation of the noise in the measurement, images in [-1, 1].",
            show_default="0; rounding, 1/(127.5√12), for 8-bit pictures without --simulate",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=METHOD, help="Noise levels N.", show_default="the task's preset"
        ),
    ] = None,
    inner_steps: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=METHOD,
            help="Gradient steps K per noise level.",
            show_default="the task's preset",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(rich_help_panel=METHOD, help="Seed of all random numbers.")
    ] = 0,
    task_seed: TaskSeed = 0,
    samples: Annotated[
        int, typer.Option(rich_help_panel=METHOD, help="Restorations per input.")
    ] = 1,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate", rich_help_panel=PROBLEM, help="The inputs are clean: degrade them first."
        ),
    ] = False,
    mask: Mask = None,
    mask_keep: Keep = MaskKeep.black,
    resize: Annotated[
        bool,
        typer.Option(
            "--resize",
            rich_help_panel=PROBLEM,
            help="Resize pictures (their center) to the size that is needed.",
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(rich_help_panel=MACHINE, help="auto, cpu, cuda, cuda:1, …")
    ] = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            rich_help_panel=MACHINE,
            help="Precision of the prior: float32, bfloat16, float16 or auto.",
        ),
    ] = "float32",
    backend: Annotated[
        str,
        typer.Option(
            rich_help_panel=MACHINE, help="Compiled ops: auto, reference, cpp, triton or cuda."
        ),
    ] = "auto",
    batch_size: Annotated[
        int, typer.Option(rich_help_panel=MACHINE, help="Restorations computed together.")
    ] = 8,
    figures: Annotated[
        bool,
        typer.Option(
            "--figures/--no-figures", rich_help_panel=RESULTS, help="Draw two figures per input."
        ),
    ] = True,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", rich_help_panel=RESULTS, help="Finish the run that --output holds."
        ),
    ] = False,
) -> None:
    """Restore degraded images (or clean ones, with --simulate).

    For each input NAME it writes

    NAME-restored.png (NAME-restored-0.png, … with --samples), the restoration,

    NAME-comparison.png, beside the measurement, and the truth if known,

    NAME-levels.png, residual and denoised image over the noise levels,

    and for all of them restore.json, with settings and metrics.
    """
    from vml_fast.cli.restore_run import RestoreRun
    from vml_fast.cli.restore_settings import Settings
    from vml_fast.cli.results import Existing

    settings = Settings(
        task=task,
        prior=prior,
        method=method,
        noise_std=noise_std,
        steps=steps,
        inner_steps=inner_steps,
        seed=seed,
        task_seed=task_seed,
        samples=samples,
        simulate=simulate,
        mask=mask,
        mask_keep=mask_keep.value,
        resize=resize,
        device=device,
        dtype=dtype,
        backend=backend,
        batch_size=batch_size,
        figures=figures,
    )
    existing = Existing.chosen(overwrite=overwrite, resume=resume)
    RestoreRun(inputs, settings, output, existing).run()
