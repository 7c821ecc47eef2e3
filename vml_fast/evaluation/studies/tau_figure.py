"""The figure of the study of noisy data: artifacts, when they arise, and where to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from vml_fast.evaluation.figures import INK, MUTED, Panel, draw_panel, finish_axes, new_figure
from vml_fast.evaluation.metrics import psnr
from vml_fast.evaluation.studies.tau import SHOWN_NOISE, Point, Study, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#1e3a8a", "#2563eb", "#d97706", "#dc2626")
STEP_COLORS = ("#dc2626", "#2563eb", "#059669")
CLIP = 3.0
"""Diverging results are scored clipped to this."""


def tau_figure(studies: Sequence[Study]) -> Figure:
    """Per prior: the artifacts, when they arise, and the quality against tau / sigma_y.

    Args:
        studies: one per prior.
    """
    title = (
        "Noisy data, half of the pixels hidden (gray): the step size that diverges at low noise "
        "levels, its cure, and where to stop"
    )
    figure = new_figure(9.6, 5.0 * len(studies), title)
    outline = figure.add_gridspec(2 * len(studies), 1, height_ratios=(1, 1.35) * len(studies))
    for k, (name, found, trial) in enumerate(studies):
        panels = {"truth": trial.truth, "measurement": trial.y, **trial.images}
        cells = outline[2 * k].subgridspec(1, len(panels))
        for i, (words, image) in enumerate(panels.items()):
            axes = figure.add_subplot(cells[0, i])
            _draw_image(axes, words, image, trial.truth)
            if i == 0:
                axes.set_ylabel(name, fontsize=8, color=INK)
        curves = outline[2 * k + 1].subgridspec(1, 2)
        _draw_growth(figure.add_subplot(curves[0, 0]), trial)
        _draw_sweep(figure.add_subplot(curves[0, 1]), found)
    return figure


def _draw_image(axes: Axes, name: str, image: Tensor, truth: Tensor) -> None:
    value = float(psnr(image.clamp(-CLIP, CLIP)[None], truth[None]))
    known = name in ("truth", "measurement")
    draw_panel(axes, Panel(image, name, "" if known else f"{value:.1f} dB"))


def _draw_growth(axes: Axes, trial: Trial) -> None:
    for (name, values), color in zip(trial.growth.items(), STEP_COLORS, strict=False):
        axes.plot(trial.sigmas, values, "o-", ms=3, lw=1.1, color=color, label=name)
    axes.axhline(1.0, color=MUTED, lw=0.7, ls=":")
    axes.axvline(0.35 * SHOWN_NOISE, color=MUTED, lw=0.8, ls="--", label="bound of step σ_y²")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_xaxis()
    axes.set_xlabel(f"noise level σ, σ_y = {SHOWN_NOISE:g}", fontsize=7, color=INK)
    axes.set_ylabel("length of a level's last step\nover that of its first", fontsize=7, color=INK)
    finish_axes(axes)
    axes.legend(fontsize=6.5, frameon=False)


def _draw_sweep(axes: Axes, found: Sequence[Point]) -> None:
    levels, drawn = list(dict.fromkeys(point.noise_std for point in found)), set[str]()
    for noise_std, color in zip(levels, COLORS, strict=False):
        for preconditioned, line in ((False, "o-"), (True, "s--")):
            ones = [
                p for p in found if (p.noise_std, p.preconditioned) == (noise_std, preconditioned)
            ]
            if not ones:
                continue
            label = None if f"σ_y = {noise_std:g}" in drawn else f"σ_y = {noise_std:g}"
            drawn.add(f"σ_y = {noise_std:g}")
            ratios = [max(p.ratio, 0.05) for p in ones]  # 0 has no place on this axis
            axes.plot(ratios, [p.psnr for p in ones], line, color=color, ms=3, lw=1.1, label=label)
    axes.set_xscale("log")
    ticks = sorted({point.ratio for point in found})
    axes.set_xticks([max(tick, 0.05) for tick in ticks], [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(
        "τ / σ_y (0: every level optimized); dashed: preconditioned", fontsize=7, color=INK
    )
    axes.set_ylabel("PSNR, dB", fontsize=7, color=INK)
    finish_axes(axes)
    axes.legend(fontsize=6.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
