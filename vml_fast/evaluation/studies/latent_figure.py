"""The figure of the study of latent space: restorations side by side, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vml_fast.evaluation.figures import INK, MUTED, Panel, draw_panel, finish_axes, new_figure
from vml_fast.evaluation.studies.latent import PIXELS, SHOWN, TASKS, Outcome, Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = dict(zip(TASKS, ("#2563eb", "#d97706", "#059669"), strict=True))


def latent_figure(found: Sequence[Outcome], shown: Sequence[Shown], noise: str) -> Figure:
    """Restorations side by side, and three measures of every method on every task.

    Args:
        found: the outcomes.
        shown: the pictures.
        noise: what the title says of the noise.
    """
    names = list(dict.fromkeys(outcome.name for outcome in found))
    columns = ["H⁺ y", *_columns(names), "truth"]
    title = (
        "Latent VML-MAP: the plain gradient, the cures, and pixel space, "
        f"{found[0].passes} network passes, {noise}"
    )
    figure = new_figure(1.28 * len(columns), 1.5 * len(shown) + 3.6, title)
    outline = figure.add_gridspec(2, 1, height_ratios=(1.5 * len(shown), 3.2))
    cells = outline[0].subgridspec(len(shown), len(columns))
    values = {(outcome.task, outcome.name): outcome for outcome in found}
    for i, row in enumerate(shown):
        for j, column in enumerate(columns):
            axes = figure.add_subplot(cells[i, j])
            outcome = values.get((row.task, column))
            caption = f"{outcome.psnr[SHOWN]:.1f} dB" if outcome else ""
            draw_panel(axes, Panel(row.pictures[column], _broken(column), caption), i == 0)
            if j == 0:
                axes.set_ylabel(row.task, fontsize=8, color=INK)
    charts = outline[1].subgridspec(1, 3)
    for k, (measure, label) in enumerate(
        (
            ("psnr", "PSNR, dB (more is better)"),
            ("st_lpips", "ST-LPIPS (less is better)"),
            ("residual", "residual, RMS of H x − y"),
        )
    ):
        axes = figure.add_subplot(charts[0, k])
        _draw_measure(axes, found, names, measure, label, k == 0)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), fontsize=7, frameon=False
    )
    return figure


def _columns(names: Sequence[str]) -> list[str]:
    """Of the projected methods only the last, and all that are not projected."""
    projected = [name for name in names if name.endswith(", projected")]
    plain = [name for name in names if name not in projected and name != PIXELS]
    return [*plain, *projected[-1:], *(name for name in names if name == PIXELS)]


def _broken(name: str) -> str:
    """A name in two lines."""
    return name.replace(", ", ",\n", 1) if len(name) > 12 else name


def _draw_measure(
    axes: Axes,
    found: Sequence[Outcome],
    names: Sequence[str],
    measure: str,
    label: str,
    with_names: bool,
) -> None:
    for name, color in COLORS.items():
        ones = [outcome for outcome in found if outcome.task == name]
        values = [max(outcome.mean(measure), 1e-7) for outcome in ones]
        rows = [names.index(outcome.name) for outcome in ones]
        axes.plot(values, rows, "o", ms=5, color=color, label=name, alpha=0.9)
    if measure == "residual":
        axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names if with_names else [""] * len(names))
    axes.invert_yaxis()
    axes.grid(axis="y", color="#e5e7eb", lw=0.6)
    axes.set_xlabel(label, fontsize=7.5, color=INK)
    finish_axes(axes, 7)
    axes.tick_params(length=2)
    axes.spines[["left", "bottom"]].set_color(MUTED)
