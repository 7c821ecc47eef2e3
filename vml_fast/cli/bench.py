"""`vml-fast bench`: how fast a solve is on this machine, each acceleration added in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vml_fast.cli import options as opt

RUNG_KEYS = ("fused", "network", "bfloat16", "compile", "cuda-graph")


def bench(
    output: Annotated[Path | None, opt.OUTPUT] = None,
    task: opt.NamedTask = "sr4",
    noise_std: opt.NoiseStd = 0.0,
    prior: opt.Prior = "emoji64",
    method: opt.Method = "vml-map-pre",
    steps: opt.Steps = 2,
    inner_steps: opt.InnerSteps = 10,
    batch_size: opt.BatchSize = 8,
    device: opt.Device = "auto",
    backend: opt.Backend = "auto",
    repeats: Annotated[
        int, typer.Option(rich_help_panel=opt.MACHINE, help="Timed solves of each; they alternate.")
    ] = 3,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=opt.MACHINE,
            help=f"Leave one out, of {', '.join(RUNG_KEYS)}; may be repeated.",
            show_default=False,
        ),
    ] = None,
    chart: Annotated[
        bool,
        typer.Option("--chart/--no-chart", rich_help_panel=opt.RESULTS, help="Draw bench.png."),
    ] = True,
    overwrite: opt.Overwrite = False,
) -> None:
    """Compare plain PyTorch with each acceleration added, on this machine.

    Whole solves in one run, medians; warm-up (conversion, compilation, capture) is shown apart.
    Few noise levels suffice: every one takes the same time. Without --output the table is only
    printed; with it, it writes bench.json and bench.png.
    """
    from vml_fast.cli.bench_run import BenchRun
    from vml_fast.cli.measure_settings import MeasureSettings

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
    BenchRun(
        settings, output, repeats=repeats, skip=skip or [], chart=chart, overwrite=overwrite
    ).run()
