"""The figure of the study of the traces: how large they are, and where the runs end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vml_fast.evaluation.figures import ACCENT, INK, MUTED, finish_axes, new_figure
from vml_fast.evaluation.studies.traces import Descent, Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"drop": ACCENT, "hutchinson": "#d97706", "hutch++": "#059669", "exact": "#dc2626"}
FLOOR = 1e-3
"""Smaller shares are left out."""


@dataclass(frozen=True)
class Bars:
    """One score as bars.

    Attributes:
        score: its key.
        title: what it is, and what is good.
        words: below the axis.
        digits: format of a number.
    """

    score: str
    title: str
    words: str
    digits: str


BARS = (
    Bars("mode_gap", "Depth below the nearest mode\n(0 is best)", "nats", ".3f"),
    Bars(
        "coverage", "Coverage of the modes\n(1 is best: each has its share)",
        "1 − total variation of the shares", ".2f",
    ),
    Bars(
        "switched", "Ends on another mode than with drop\n(neither end is better)",
        "share of the starts", ".0%",
    ),
)  # fmt: skip


def traces_figure(
    problems: Sequence[Problem],
    runs: Sequence[dict[str, Descent]],
    scores: Sequence[dict[str, dict[str, float]]],
) -> Figure:
    """Per problem: the traces' share of the gradient over the levels, and where the runs end."""
    title = (
        "The traces that the loss drops: how large their gradient is beside the rest, and where "
        "runs end with and without"
    )
    figure = new_figure(11.5, 2.6 * len(problems) + 0.4, title)
    grid = figure.subplots(len(problems), 4, squeeze=False, width_ratios=(1.5, 1, 1, 1))
    for axes, problem, run, found in zip(grid, problems, runs, scores, strict=True):
        _draw_shares(axes[0], problem, run)
        for place, what in zip(axes[1:], BARS, strict=True):
            _draw_bars(place, what, {form: one[what.score] for form, one in found.items()})
        for place in axes[2:]:
            place.set_yticklabels([])
    return figure


def _draw_shares(axes: Axes, problem: Problem, runs: dict[str, Descent]) -> None:
    for form, run in runs.items():
        if form != "drop":
            values = [share if share >= FLOOR else float("nan") for share in run.shares]
            axes.plot(run.sigmas, values, "o-", ms=3, lw=1.1, color=COLORS[form], label=form)
    axes.axhline(1.0, color=MUTED, lw=0.7, ls=":")
    axes.axvline(problem.noise_std, color=MUTED, lw=0.7, ls="--")
    axes.text(problem.noise_std, 4.0, " σ_t = σ_y", fontsize=7, color=MUTED, va="top")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.8 * FLOOR, 5.0)
    sigmas = next(iter(runs.values())).sigmas
    axes.set_xlim(1.3 * max(sigmas), min(sigmas) / 1.3)
    title = f"{problem.name}: size of the traces\n(the smaller, the less is lost by dropping them)"
    axes.set_title(title, fontsize=8, color=INK, loc="left")
    axes.set_xlabel("noise level σ_t (a run goes from left to right)", fontsize=7, color=INK)
    axes.set_ylabel("|gradient of the traces| /\n|rest of the gradient|", fontsize=7, color=INK)
    finish_axes(axes)
    axes.legend(fontsize=6.5, frameon=False, loc="lower left")


def _draw_bars(axes: Axes, what: Bars, values: dict[str, float]) -> None:
    colors = [COLORS[form] for form in values]
    bars = axes.barh(list(values), list(values.values()), color=colors, height=0.6)
    texts = [f" {value:{what.digits}}" for value in values.values()]
    axes.bar_label(bars, texts, fontsize=7, color=INK)
    axes.set_xlim(0, max(*values.values(), 1e-3) * 1.22)
    axes.locator_params(axis="x", nbins=5)
    axes.invert_yaxis()
    axes.set_title(what.title, fontsize=8, color=INK, loc="left")
    axes.set_xlabel(what.words, fontsize=7, color=INK)
    finish_axes(axes, 7)
