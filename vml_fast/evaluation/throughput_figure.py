"""One chart: each acceleration adds a bar."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vml_fast.errors import require
from vml_fast.evaluation.figures import ACCENT, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAIN = "#c3c8d0"
WIDTH, ROW, FRAME = 7.2, 0.42, 1.35
"""Inches: of the figure, of a bar, and of everything but the bars."""
NOTE_CHARACTERS = 125
"""In a line of the note."""


def throughput_figure(
    rows: Sequence[dict[str, Any]], *, title: str, subtitle: str = "", note: str = ""
) -> Figure:
    """Bars of speed-up over plain PyTorch, with the time of an inner step beside each.

    Args:
        rows: of `Comparison.rows`, the reference first.
        title: the machine.
        subtitle: what was solved.
        note: below the bars, small.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    require("matplotlib", "figures")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, FRAME + ROW * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    values = [row["speed_up"] for row in rows]
    colors = [PLAIN, *[ACCENT] * (len(rows) - 1)]
    axes.barh(range(len(rows)), values, height=0.68, color=colors)
    for place, row in enumerate(rows):
        text = f"  {row['speed_up']:.2f}×"
        time = f"   {three_digits(row['milliseconds_per_inner_step'])} ms per inner step"
        label = axes.annotate(
            text, (row["speed_up"], place), va="center", fontsize=9, color=INK, weight="bold"
        )
        axes.annotate(
            time,
            (1, 0.5),
            xycoords=label,
            va="center",
            fontsize=8,
            color=MUTED,
            annotation_clip=False,
        )
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows], fontsize=9, color=INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.75 * max(values))
    axes.set_xlabel("times faster than plain PyTorch, whole solve", fontsize=8, color=MUTED)
    axes.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=":", zorder=0)
    axes.tick_params(axis="both", length=0, labelsize=9)
    axes.tick_params(axis="x", labelsize=8, colors=MUTED)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    figure.suptitle(f"{title}\n{subtitle}".strip(), fontsize=9, color=INK, x=0.01, ha="left")
    if note:
        lines = textwrap.fill(note, NOTE_CHARACTERS)
        figure.supxlabel(lines, fontsize=7, color=MUTED, x=0.01, ha="left")
    return figure


def three_digits(value: float) -> str:
    """A number above 0 with three significant digits, and never an exponent."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
