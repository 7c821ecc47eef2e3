"""`vml-fast restore`: degraded images in, restored images, figures and a JSON record out."""

from __future__ import annotations

from typing import Annotated

import typer

from vml_fast.cli import options as opt


def restore(
    inputs: opt.Inputs,
    task: opt.Task,
    output: opt.Output,
    prior: opt.Prior = "emoji64",
    method: opt.Method = "vml-map-pre",
    noise_std: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=opt.PROBLEM,
            help="Standard deviation of the noise in the measurement, images in [-1, 1].",
            show_default="0; rounding, 1/(127.5√12), for 8-bit pictures without --simulate",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=opt.METHOD, help="Noise levels N.", show_default="the task's preset"
        ),
    ] = None,
    inner_steps: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=opt.METHOD,
            help="Gradient steps K per noise level.",
            show_default="the task's preset",
        ),
    ] = None,
    traces: Annotated[
        str,
        typer.Option(
            rich_help_panel=opt.METHOD,
            help="The loss's two trace terms: drop, hutchinson, hutch++ or exact.",
        ),
    ] = "drop",
    seed: opt.Seed = 0,
    task_seed: opt.TaskSeed = 0,
    samples: Annotated[
        int, typer.Option(rich_help_panel=opt.METHOD, help="Restorations per input.")
    ] = 1,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate",
            rich_help_panel=opt.PROBLEM,
            help="The inputs are clean: degrade them first.",
        ),
    ] = False,
    mask: opt.Mask = None,
    mask_keep: opt.Keep = opt.MaskKeep.black,
    resize: opt.Resize = False,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float32",
    backend: opt.Backend = "auto",
    batch_size: opt.BatchSize = 8,
    figures: Annotated[
        bool,
        typer.Option(
            "--figures/--no-figures",
            rich_help_panel=opt.RESULTS,
            help="Draw two figures per input.",
        ),
    ] = True,
    overwrite: opt.Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", rich_help_panel=opt.RESULTS, help="Finish the run that --output holds."
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
    from vml_fast.cli.restore_settings import RestoreSettings
    from vml_fast.cli.results import Existing

    settings = RestoreSettings(
        task=task,
        prior=prior,
        method=method,
        noise_std=noise_std,
        steps=steps,
        inner_steps=inner_steps,
        traces=traces,
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
