"""The figure of the study of the traces: how large they are, and where the runs end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vml_fast.evaluation.figures import ACCENT, INK, MUTED, finish_axes, new_figure
from vml_fast.evaluation.studies.traces import Descent, Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {"drop": ACCENT, "hutchinson": "#d97706", "hutch++": "#059669", "exact": "#dc2626"}
FLOOR = 1e-3
"""Shares below are drawn there."""


def traces_figure(
    problems: Sequence[Problem],
    runs: Sequence[dict[str, Descent]],
    scores: Sequence[dict[str, dict[str, float]]],
) -> Figure:
    """Per problem: the traces' share of the gradient over the levels, and where the runs end."""
    title = "The dropped traces: large at high noise, nothing in the end; they change which mode"
    figure = new_figure(9.6, 2.5 * len(problems) + 0.4, title)
    grid = figure.subplots(len(problems), 3, squeeze=False, width_ratios=(1.5, 1, 1))
    for axes, problem, run, found in zip(grid, problems, runs, scores, strict=True):
        _draw_shares(axes[0], problem, run)
        gaps = {form: one["mode_gap"] for form, one in found.items()}
        texts = [f"{gap:.3f}" for gap in gaps.values()]
        _draw_bars(axes[1], gaps, texts, "nats below the nearest posterior mode")
        switched = {form: one["switched"] for form, one in found.items()}
        texts = [f"{one['switched']:.0%}; {one['coverage']:.2f}" for one in found.values()]
        words = "starts that end on another mode\nthan without traces; coverage of the modes"
        _draw_bars(axes[2], switched, texts, words)
    return figure


def _draw_shares(axes: Axes, problem: Problem, runs: dict[str, Descent]) -> None:
    for form, run in runs.items():
        if form != "drop":
            values = [max(share, FLOOR) for share in run.shares]
            axes.plot(run.sigmas, values, "o-", ms=3, lw=1.1, color=COLORS[form], label=form)
    axes.axhline(1.0, color=MUTED, lw=0.7, ls=":")
    axes.axvline(problem.noise_std, color=MUTED, lw=0.7, ls="--")
    axes.text(problem.noise_std, 4.0, " σ_t = σ_y", fontsize=7, color=MUTED, va="top")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.8 * FLOOR, 5.0)
    axes.invert_xaxis()
    axes.set_title(problem.name, fontsize=8, color=INK, loc="left")
    axes.set_xlabel("noise level σ_t (a run goes from left to right)", fontsize=7, color=INK)
    axes.set_ylabel("|gradient of the traces| /\n|rest of the gradient|", fontsize=7, color=INK)
    finish_axes(axes)
    axes.legend(fontsize=6.5, frameon=False, loc="lower left")


def _draw_bars(axes: Axes, values: dict[str, float], texts: Sequence[str], words: str) -> None:
    forms = list(values)
    colors = [COLORS[form] for form in forms]
    bars = axes.barh(forms, list(values.values()), color=colors, height=0.6)
    axes.bar_label(bars, [f" {text}" for text in texts], fontsize=7, color=INK)
    axes.set_xlim(0, max(*values.values(), 1e-3) * 1.45)
    axes.locator_params(axis="x", nbins=5)
    axes.invert_yaxis()
    axes.set_xlabel(words, fontsize=7, color=INK)
    finish_axes(axes, 7)
