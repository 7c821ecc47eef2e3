"""`vml-fast profile`: where the time of a solve goes, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vml_fast.cli import options as opt


def profile(
    output: opt.Output = Path("profile"),
    task: opt.NamedTask = "sr4",
    noise_std: opt.NoiseStd = 0.0,
    prior: opt.Prior = "emoji64",
    method: opt.Method = "vml-map-pre",
    steps: opt.Steps = 2,
    inner_steps: opt.InnerSteps = 10,
    batch_size: opt.BatchSize = 8,
    device: opt.Device = "auto",
    backend: opt.Backend = "auto",
    accelerate: Annotated[
        bool,
        typer.Option(
            "--accelerate/--no-accelerate",
            rich_help_panel=opt.MACHINE,
            help="Make the network fast, or run it as it was trained.",
        ),
    ] = True,
    dtype: opt.Dtype = "auto",
    compile: Annotated[
        opt.Switch, typer.Option(rich_help_panel=opt.MACHINE, help="Compile the network.")
    ] = opt.Switch.auto,
    cuda_graph: Annotated[
        opt.Switch, typer.Option(rich_help_panel=opt.MACHINE, help="Capture the inner step.")
    ] = opt.Switch.auto,
    top: Annotated[
        int, typer.Option(rich_help_panel=opt.RESULTS, help="Kernels in the table.")
    ] = 15,
    capture_only: Annotated[
        bool,
        typer.Option(
            "--capture-only",
            rich_help_panel=opt.RESULTS,
            help="Warm up and run the measured part, nothing else: for nsys and ncu.",
        ),
    ] = False,
    overwrite: opt.Overwrite = False,
) -> None:
    """Profile a solve: shares of its parts, top kernels, and a time line.

    One solve to warm up, one measured (within cudaProfilerStart and cudaProfilerStop on a GPU),
    some in turn with the bare network, and one under torch.profiler. It writes

    trace.json, the time line: open it in https://ui.perfetto.dev,

    profile.md and profile.json, the tables.
    """
    from vml_fast.cli.measure_settings import MeasureSettings
    from vml_fast.cli.profile_run import ProfileRun, RunnerSettings

    settings = MeasureSettings(
        task=task,
        prior=prior,
        method=method,
        noise_std=noise_std,
        steps=steps,
        inner_steps=inner_steps,
        batch_size=batch_size,
        device=device,
        backend=backend,
    )
    runner = RunnerSettings(
        accelerate=accelerate, dtype=dtype, compile=compile.value, cuda_graph=cuda_graph.value
    )
    run = ProfileRun(settings, runner, output, top=top, overwrite=overwrite)
    run.capture() if capture_only else run.profile()
