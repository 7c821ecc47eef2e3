"""The runs behind the studies of `vml-fast evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from vml_fast.cli.checks import check_seed
from vml_fast.cli.tables import markdown, print_table
from vml_fast.errors import InputError, require
from vml_fast.evaluation.figures import write_figure
from vml_fast.evaluation.files import check_writable, write_json, write_whole
from vml_fast.evaluation.studies import toy
from vml_fast.solvers.checks import check_count

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
    _write(output, "toy", title, header, rows, record, toy.toy_figure(problem, drawn, found))


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
    write_json(output / f"{name}.json", record)
    write_figure(output / f"{name}.png", figure)
    console.print(f"wrote {output / name}.png, .md and .json", markup=False, soft_wrap=True)
