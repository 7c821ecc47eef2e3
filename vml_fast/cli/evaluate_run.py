"""The run behind `vml-fast evaluate`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import typer

from vml_fast.cli.checks import naming_options
from vml_fast.cli.environment import check_backend
from vml_fast.cli.evaluate_settings import OPTIONS, EvaluateSettings
from vml_fast.cli.priors import load_image_prior, weights_digest
from vml_fast.denoisers import ScaledDenoiser, accelerate
from vml_fast.denoisers.loading import find_prior
from vml_fast.denoisers.precision import network_dtype
from vml_fast.devices import find_device
from vml_fast.errors import InputError, require
from vml_fast.evaluation.comparison.budgets import CONSISTENCY_METHODS
from vml_fast.evaluation.comparison.cell_runner import CellRunner, Outcome
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.comparison.dataset import DataSet, load_dataset
from vml_fast.evaluation.comparison.report import Report
from vml_fast.evaluation.comparison.results import PER_IMAGE, SETS
from vml_fast.evaluation.comparison.run import run_cells
from vml_fast.evaluation.comparison.store import Store, holds_records
from vml_fast.evaluation.distances import Features, inception_features, prior_features
from vml_fast.evaluation.machine import device_name
from vml_fast.evaluation.perceptual import perceptual_measures


def run(settings: EvaluateSettings, output: Path, *, report_only: bool, overwrite: bool) -> None:
    """Run the cells that are not done, then write the reports.

    Raises:
        InputError, MissingExtra, BackendUnavailable: something cannot be used; nothing was run.
    """
    for package in ("torchmetrics", "scipy", "matplotlib"):
        require(package, "evaluation")
    cells = _cells(settings)
    for method, level in settings.left_out(cells):
        typer.echo(f"{method} has no cell at a noise level of {level:g}: left out there", err=True)
    runner, missing = _runner(settings, cells)
    for task in dict.fromkeys(cell.task for cell in cells):
        runner.operator(task)  # a task that does not fit is found out before the work
    provenance = _provenance(settings, runner.data, runner.device)
    if report_only and overwrite:
        raise InputError("--overwrite removes records, which --report-only needs; pass one of them")
    if report_only and not holds_records(output):
        raise InputError(
            f"--output {output} holds no finished cell; --report-only needs at least one"
        )
    store = Store(output, provenance, overwrite=overwrite)
    try:
        if not report_only:
            run_cells(cells, runner, store, max_seconds=settings.max_seconds, say=_say)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on", err=True)
        raise typer.Exit(130) from None
    finally:
        done = store.merge(cells)
    records = [found for cell in cells if (found := store.record(cell)) is not None]
    notes = [*_notes(settings, runner, provenance, missing), *_partial(records)]
    report = Report(settings.title(), settings.command(), notes)
    files = report.write(cells, runner, store)
    typer.echo(f"{done} of {len(cells)} cells are in {output}; see {files[0]} and report.html")


def _cells(settings: EvaluateSettings) -> list[Cell]:
    """The cells; those that take the prior's embedded consistency model name its weights.

    A model that was given is part of the provenance, as the prior is. Records without one stay
    good where a prior gets a model of its own.
    """
    cells, model = settings.cells(), settings.consistency_model
    if settings.consistency is not None or model is None:
        return cells
    named = {"consistency": weights_digest(model)}
    return [
        replace(cell, settings={**cell.settings, **named})
        if cell.method in CONSISTENCY_METHODS
        else cell
        for cell in cells
    ]


def _runner(settings: EvaluateSettings, cells: list[Cell]) -> tuple[CellRunner, list[str]]:
    """What runs the cells, and sentences about what it cannot measure here."""
    device = find_device(settings.device, "--device")
    check_backend(settings.backend, device)
    denoiser = _fast_prior("--prior", settings.prior, device, settings)
    shape = denoiser.image_shape
    with naming_options(OPTIONS):
        data = load_dataset(settings.data, shape, settings.images, resize=settings.resize)
    consistency, model = None, settings.consistency_model
    if model is not None and any(cell.method in CONSISTENCY_METHODS for cell in cells):
        consistency = _fast_prior("--consistency", model, device, settings)
    measures, missing = perceptual_measures(shape)
    runner = CellRunner(
        denoiser,
        data,
        consistency=consistency,
        seed=settings.seed,
        device=device,
        backend=settings.backend,
        measures=measures,
        features=_features(settings, denoiser),
        progress=sys.stderr.isatty(),
    )
    return runner, missing


def _fast_prior(
    option: str, name: str, device: torch.device, settings: EvaluateSettings
) -> ScaledDenoiser:
    """A network in its fast form in any precision: what it gives differs by rounding only."""
    prior = load_image_prior(option, name, device, settings.dtype, settings.backend)
    if getattr(prior, "acceleration", None) is not None:
        return prior
    return accelerate(prior, settings.dtype, backend=settings.backend)


def _features(settings: EvaluateSettings, denoiser: ScaledDenoiser) -> list[Features]:
    """What sets of images are compared by: the prior's own features, and Inception's if given."""
    own = prior_features(denoiser, Path(settings.prior).name)
    features = [] if own is None else [own]
    if settings.inception_weights is not None:
        features.append(inception_features(settings.inception_weights))
    return features


def _notes(
    settings: EvaluateSettings, runner: CellRunner, provenance: dict[str, Any], missing: list[str]
) -> list[str]:
    """Sentences about what the tables stand on."""
    notes = [
        f"Prior {settings.prior}, weights sha256 {provenance['weights_sha256']}…, "
        f"{settings.dtype}; report written with torch {torch.__version__} on "
        f"{device_name(runner.device)}.",
        f"Data {runner.data.name}: {', '.join(runner.data.names)}.",
        "PSNR and SSIM of the clipped image; residual: RMS of H x - y over the observed entries, "
        "not clipped; images in [-1, 1].",
        "bicubic: cubic interpolation of y (of the observed pixels for a mask; y itself for a "
        "blur).",
        *(
            f"{' and '.join(one.distances)} distance: on {one.name}; few images say little."
            for one in runner.features
        ),
        *(f"Not measured by the last run: {sentence}." for sentence in missing),
    ]
    if runner.consistency is not None:
        notes.append(f"Consistency model of map-ga and map-ga-np: {settings.consistency_model}.")
    elif settings.consistency_model is None:
        notes.append("map-ga and map-ga-np need a consistency model: pass --consistency.")
    return notes


def _partial(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences about what was measured in some cells only, where its network was at hand."""
    whole = [record for record in records if "failed" not in record]
    counts = Counter(name for r in whole for name in (*r["metrics"], *r.get("sets", {})))
    titles = {**PER_IMAGE, **SETS}
    return [
        f"{titles.get(name, name)}: measured in {count} of {len(whole)} cells."
        for name, count in counts.items()
        if count < len(whole)
    ]


def _provenance(settings: EvaluateSettings, data: DataSet, device: torch.device) -> dict[str, Any]:
    """All that decides the results beside the cells."""
    return {
        "prior": find_prior(settings.prior).absolute().name,
        "weights_sha256": weights_digest(settings.prior),
        "consistency_sha256": settings.consistency and weights_digest(settings.consistency),
        "dtype": str(network_dtype(settings.dtype, device)).removeprefix("torch."),
        "data": data.name,
        "data_sha256": data.digest(),
        "seed": settings.seed,
    }


def _say(cell: Cell, outcome: Outcome) -> None:
    """One line per finished cell."""
    record = outcome.record
    if "failed" in record:
        typer.echo(f"{cell}: nothing, {record['failed']}", err=True)
        return
    values = [float(v) for v in record["metrics"]["psnr"]]
    typer.echo(
        f"{cell}: PSNR {sum(values) / len(values):.2f} dB, {record['seconds']:.1f} s", err=True
    )
