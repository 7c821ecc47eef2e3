"""The runs behind the studies of `vml-fast evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from vml_fast.checks import check_count
from vml_fast.cli.checks import check_seed
from vml_fast.cli.priors import load_image_prior, load_prior
from vml_fast.cli.tables import print_table
from vml_fast.denoisers import LatentDenoiser
from vml_fast.errors import InputError, require
from vml_fast.evaluation.comparison.statistics import Estimate
from vml_fast.evaluation.figures import write_figure
from vml_fast.evaluation.files import as_json, check_writable, write_json, write_whole
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.studies import latent, scaling, tau, toy, traces
from vml_fast.evaluation.studies.latent_figure import latent_figure
from vml_fast.evaluation.studies.scaling_figure import scaling_figure
from vml_fast.evaluation.studies.tau_figure import tau_figure
from vml_fast.evaluation.studies.toy_figure import toy_figure
from vml_fast.evaluation.studies.traces_figure import traces_figure
from vml_fast.evaluation.tables import markdown
from vml_fast.solvers.checks import check_noise_std

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_toy(output: Path, samples: int, noise_std: float, seed: int) -> None:
    """Draw, print and write the 2-D experiment.

    Raises:
        InputError: a value outside what is allowed, or a folder that cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    check_count("--samples", samples, 2)
    check_seed("--seed", seed)
    if not 0.01 <= noise_std <= 10:
        raise InputError(f"--noise-std is {noise_std}; the experiment needs 0.01 to 10")
    _prepare(output)
    problem = toy.make_toy(noise_std)
    drawn = toy.draw_all(problem, samples, seed)
    found = toy.scores(problem, drawn)
    header = [
        "method", "distance to nearest mode", "nats below it", "nats below the highest mode",
        "coverage of the modes", "error of the mean", "spread",
    ]  # fmt: skip
    rows = [
        [name, *(f"{value:.3f}" for value in asdict(one).values())] for name, one in found.items()
    ]
    record = {
        "samples": samples,
        "noise_std": noise_std,
        "seed": seed,
        "settings": toy.METHODS,
        "scores": {name: asdict(one) for name, one in found.items()},
    }
    title = f"2-D mixture, σ_y = {noise_std:g}, {samples} samples of each method"
    _write(output, "toy", title, header, rows, record, toy_figure(problem, drawn, found))


def run_traces(output: Path, samples: int, side: int) -> None:
    """Run, print and write the study of the traces; errors as in `run_toy`."""
    check_count("--samples", samples, 16)
    if side not in (4, 8, 16, 32):
        raise InputError(f"--side is {side}; it must be 4, 8, 16 or 32")
    _prepare(output)
    problems = [traces.toy_problem(), traces.picture_problem(side)]
    first = traces.compare(problems[0], samples, steps=20, inner_steps=20)
    second = traces.compare(problems[1], max(samples // 16, 2), steps=20, inner_steps=5)
    found = [first[1], second[1]]
    header = [
        "prior", "traces", "nats below nearest mode", "nats below the highest mode",
        "coverage of the modes", "spread", "ends on another mode than without",
    ]  # fmt: skip
    rows = [
        [
            problem.name,
            form,
            *(
                f"{one[key]:.3f}"
                for key in ("mode_gap", "top_gap", "coverage", "spread", "switched")
            ),
        ]
        for problem, scores in zip(problems, found, strict=True)
        for form, one in scores.items()
    ]
    record = {
        problem.name: {
            "scores": scores,
            "sigmas": runs["exact"].sigmas,
            "shares": {form: run.shares for form, run in runs.items()},
        }
        for problem, (runs, scores) in zip(problems, (first, second), strict=True)
    }
    figure = traces_figure(problems, [first[0], second[0]], found)
    _write(output, "traces", "What the dropped traces change", header, rows, record, figure)


def run_scaling(output: Path, images: int) -> None:
    """Run, print and write the study of the preconditioners; errors as in `run_toy`."""
    check_count("--images", images, 1)
    _prepare(output)
    found = [
        one
        for inner_steps in scaling.INNER_STEPS
        for one in scaling.quality(count=images, inner_steps=inner_steps)
    ]
    spent = scaling.costs()
    header = ["blur", "condition", "K", "form", "RMS distance to nearest mode", "residual / σ_y"]
    rows = [
        [
            f"{q.width:g}",
            f"{q.condition:.1e}",
            str(q.inner_steps),
            q.form,
            f"{q.error:.4f}",
            f"{q.residual:.3f}",
        ]
        for q in found
    ]
    record = {
        "noise_std": scaling.NOISE_STD,
        "quality": [asdict(one) for one in found],
        "costs": [asdict(one) | {"pays_after": one.pays_after} for one in spent],
    }
    title = "Preconditioners on blurs of growing width"
    figure = scaling_figure(found, spent)
    _write(output, "scaling", title, header, rows, record, figure)


def run_tau(output: Path, images: int) -> None:
    """Run, print and write the study of tau; errors as in `run_toy`."""
    check_count("--images", images, 1)
    _prepare(output)
    studies = [tau.exact_study(images), tau.learned_study(max(images // 2, 1))]
    header = ["prior", "σ_y", "τ / σ_y", "preconditioned", "PSNR, dB", "residual / σ_y"]
    rows = [
        [
            name,
            f"{p.noise_std:g}",
            f"{p.ratio:g}",
            "yes" if p.preconditioned else "no",
            f"{p.psnr:.2f}",
            f"{p.residual:.3f}",
        ]
        for name, found, _ in studies
        for p in found
    ]
    record = {
        name: {
            "sweep": [asdict(one) for one in found],
            "sigmas": trial.sigmas,
            "growth": trial.growth,
        }
        for name, found, trial in studies
    }
    title = "Noisy data: where to stop, and the step size that diverges"
    _write(output, "tau", title, header, rows, record, tau_figure(studies))


def run_latent(output: Path, prior: str, images: int, pixels: str, noise_std: float) -> None:
    """Run, print and write the study of latent space; errors as in `run_toy`."""
    check_count("--images", images, 1)
    check_noise_std(noise_std, name="--noise-std")
    known = len(heldout_emoji()[0])
    if images > known:
        raise InputError(f"--images is {images}; there are {known} held-out emoji")
    _prepare(output)
    device = torch.device("cpu")
    own = load_prior("--prior", prior, device)
    other = load_image_prior("--pixels", pixels, device)
    if not isinstance(own, LatentDenoiser):
        raise InputError(f"--prior {prior} is a prior of images; the study needs a latent one")
    if own.image_shape != (3, 64, 64) or other.image_shape != own.image_shape:
        raise InputError(
            f"--prior and --pixels must be for images of shape (3, 64, 64), got {own.image_shape} "
            f"and {other.image_shape}"
        )
    console = Console(stderr=True)
    found, shown = latent.compare(
        own,
        other,
        count=images,
        noise_std=noise_std,
        say=lambda line: console.print(line, highlight=False),
    )
    header = [
        "task", "method", "PSNR, dB", "less pixel space's, 95 %", "ST-LPIPS",
        "less pixel space's, 95 %", "residual", "network passes", "autoencoder passes",
        "CPU seconds per image",
    ]  # fmt: skip
    rows = [
        [
            one.task,
            one.name,
            f"{one.mean('psnr'):.2f}",
            _interval(latent.beside_pixels(found, one, "psnr"), "+.2f"),
            f"{one.mean('st_lpips'):.3f}",
            _interval(latent.beside_pixels(found, one, "st_lpips"), "+.3f"),
            f"{one.mean('residual'):.1e}",
            str(one.passes),
            str(one.autoencoder_passes),
            f"{one.seconds:.2f}",
        ]
        for one in found
    ]
    record = {
        "images": latent.pictures(images)[0],
        "latent_shape": own.latent_shape,
        "autoencoder_std": own.autoencoder_std,
        "steps": latent.STEPS,
        "inner_steps": latent.INNER_STEPS,
        "noise_std": noise_std,
        "outcomes": [asdict(one) for one in found],
    }
    noise = f"σ_y = {noise_std:g}" if noise_std else "noiseless"
    title = f"VML-MAP in latent space, {images} held-out emoji, {noise}"
    _write(output, "latent", title, header, rows, record, latent_figure(found, shown, noise))


def _interval(found: Estimate, form: str) -> str:
    """The ends of the 95 % interval of a difference."""
    return f"{found.low:{form}} to {found.high:{form}}" if found.has_interval else "–"


def _prepare(output: Path) -> None:
    require("matplotlib", "evaluation")
    check_writable(output)


def _write(
    output: Path,
    name: str,
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    record: dict[str, Any],
    figure: Figure,
) -> None:
    """Print a study's table, and write it, its record and its figure."""
    output.mkdir(parents=True, exist_ok=True)
    console = Console()
    print_table(console, title, header, rows)
    text = f"# {title}\n\n{markdown(header, rows)}\n![{title}]({name}.png)\n"
    write_whole(output / f"{name}.md", lambda file: file.write(text.encode()))
    write_json(output / f"{name}.json", as_json(record))
    write_figure(output / f"{name}.png", figure)
    console.print(f"wrote {output / name}.png, .md and .json", markup=False, soft_wrap=True)
