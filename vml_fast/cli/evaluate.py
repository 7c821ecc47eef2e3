"""`vml-fast evaluate`: methods compared on equal budgets, and studies of the method itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vml_fast.cli import evaluate_studies
from vml_fast.cli import options as opt
from vml_fast.errors import InputError

PRESET_NAMES = (
    "emoji64", "vml-map-emoji64", "vml-map", "map-ga", "map-ga-splits", "map-ga-noisy", "ddrm",
    "daps", "dps", "dps-imagenet",
)  # fmt: skip
BUDGET_NAMES = (20, 100, 200, 1000)
COMPARISON = "Comparison"

app = typer.Typer(invoke_without_command=True, no_args_is_help=True)


def _list(name: str, what: str, panel: str) -> typer.models.OptionInfo:
    return typer.Option(f"--{name}", rich_help_panel=panel, help=what, show_default=False)


@app.callback()
def evaluate(
    context: typer.Context,
    output: opt.Output = Path("evaluation"),
    preset: Annotated[
        str | None,
        _list("preset", f"A comparison by name: {', '.join(PRESET_NAMES)}.", COMPARISON),
    ] = None,
    methods: Annotated[
        str | None, _list("methods", "Methods, separated by commas; all by default.", COMPARISON)
    ] = None,
    tasks: Annotated[
        str | None,
        _list("tasks", f"Tasks, by commas: {', '.join(opt.NAMED_TASKS)}.", COMPARISON),
    ] = None,
    noise_std: Annotated[
        str | None, _list("noise-std", "Noise levels, by commas; 0 by default.", opt.PROBLEM)
    ] = None,
    budgets: Annotated[
        str | None,
        _list(
            "budgets",
            f"Network passes per image, by commas, of {', '.join(map(str, BUDGET_NAMES))}; "
            "100 by default.",
            opt.METHOD,
        ),
    ] = None,
    prior: Annotated[str | None, opt.PRIOR] = None,
    consistency: Annotated[
        str | None,
        _list("consistency", "Consistency model for map-ga and map-ga-np: likewise.", opt.METHOD),
    ] = None,
    data: Annotated[
        str | None,
        _list("data", "Clean images: emoji64-heldout (embedded) or a folder.", opt.PROBLEM),
    ] = None,
    images: Annotated[
        int | None,
        _list("images", "How many images, spread evenly over the sorted names.", opt.PROBLEM),
    ] = None,
    resize: opt.Resize = False,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    dtype: opt.Dtype = "float32",
    backend: opt.Backend = "auto",
    inception_weights: Annotated[
        Path | None,
        typer.Option(
            parser=opt.given_path,
            metavar="FILE",
            rich_help_panel=opt.RESULTS,
            help="torch-fidelity's Inception weights, for FID.",
            show_default=False,
        ),
    ] = None,
    max_minutes: Annotated[
        float | None,
        _list("max-minutes", "Begin no cell after this time; run again to go on.", opt.MACHINE),
    ] = None,
    report_only: Annotated[
        bool,
        typer.Option("--report-only", rich_help_panel=opt.RESULTS, help="Write the reports alone."),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            rich_help_panel=opt.RESULTS,
            help="Remove the cells in --output that another prior, data set or seed gave.",
        ),
    ] = False,
) -> None:
    """Compare methods over a data set, or run one of the studies.

    A comparison has a cell for each method, task, noise level and budget.
    A budget is a number of network passes per image, forwards and Jacobian products together. With
    a preset, the lists of methods, tasks, noise levels and budgets select from it.

    Each cell of the table is kept as soon as it is done: a run that was ended goes on where it was,
    and the same command run twice at once shares the work. It writes results.json, tables.md,
    tables.tex, figures/ and report.html, a page with everything in it.
    """
    if context.invoked_subcommand is not None:
        _check_nothing_before(context)
        return
    from vml_fast.cli.evaluate_run import run
    from vml_fast.cli.evaluate_settings import EvaluateSettings

    settings = EvaluateSettings.parsed(
        preset=preset,
        methods=methods,
        tasks=tasks,
        noise_std=noise_std,
        budgets=budgets,
        prior=prior,
        consistency=consistency,
        data=data,
        images=images,
        resize=resize,
        seed=seed,
        device=device,
        dtype=dtype,
        backend=backend,
        inception_weights=inception_weights,
        max_minutes=max_minutes,
    )
    run(settings, output, report_only=report_only, overwrite=overwrite)


def _check_nothing_before(context: typer.Context) -> None:
    """A study has options of its own, after its name; those of a comparison mean nothing to it."""
    for parameter in context.command.params:
        assert parameter.name is not None
        source = context.get_parameter_source(parameter.name)
        if source is not None and source.name == "COMMANDLINE":
            raise InputError(
                f"{parameter.opts[0]} stands before {context.invoked_subcommand}; the options of a "
                "study come after its name"
            )


for study in (
    evaluate_studies.toy,
    evaluate_studies.traces,
    evaluate_studies.scaling,
    evaluate_studies.tau,
    evaluate_studies.latent,
):
    app.command()(study)
