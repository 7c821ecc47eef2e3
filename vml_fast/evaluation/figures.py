"""Figures of restorations: grids of images, and a run over its noise levels.

Built on matplotlib's object interface with the Agg canvas: no pyplot, so no global state and no
display.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vml_fast.errors import require
from vml_fast.evaluation.files import write_whole
from vml_fast.evaluation.images import to_uint8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL_INCHES = 1.7
DOTS_PER_INCH = 150
ERROR_TOP = 0.5
INK, MUTED, ACCENT = "#1f2328", "#6b7280", "#2563eb"


@dataclass(frozen=True)
class Panel:
    """One cell of a grid.

    Attributes:
        pixels: (1|3, H, W) in [-1, 1], or an error map (H, W) drawn from 0 (black) to `ERROR_TOP`.
        title: above the cell; left out where the cell above it has the same one.
        caption: below it.
    """

    pixels: Tensor
    title: str = ""
    caption: str = ""


def image_grid(
    rows: Sequence[Sequence[Panel | None]], *, title: str = "", row_titles: Sequence[str] = ()
) -> Figure:
    """Panels side by side; None leaves a cell empty.

    Args:
        rows: cells, row by row; rows may differ in length.
        title: above all.
        row_titles: one per row, at its left.
    """
    columns = max(len(row) for row in rows)
    lines = title.count("\n") + 1 if title else 0
    height = sum(_row_inches(row) for row in rows) + 0.2 + 0.16 * lines
    figure = new_figure(columns * CELL_INCHES + (0.25 if row_titles else 0.0), height, title)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for i, row in enumerate(rows):
        for j in range(columns):
            panel = row[j] if j < len(row) else None
            repeated = i > 0 and j < len(rows[i - 1]) and _title(rows[i - 1][j]) == _title(panel)
            draw_panel(grid[i, j], panel, not repeated)
        if row_titles:
            grid[i, 0].set_ylabel(row_titles[i], fontsize=8, color=INK)
    return figure


def comparison(
    measurement: Tensor,
    restorations: Tensor,
    truth: Tensor | None = None,
    *,
    title: str = "",
    captions: Sequence[str] = (),
) -> Figure:
    """Measurement, restoration, truth and error of one input, one row per restoration.

    Args:
        measurement: (1|3, h, w) picture of y.
        restorations: (k, C, H, W) in [-1, 1].
        truth: (C, H, W); without it, neither truth nor error is drawn.
        title: above all.
        captions: below each restoration.
    """
    rows = []
    for k, restored in enumerate(restorations):
        caption = captions[k] if k < len(captions) else ""
        row = [Panel(measurement, "measurement"), Panel(restored, "restoration", caption)]
        if truth is not None:
            error = (restored.clamp(-1, 1) - truth).abs().mean(dim=0)
            scale = f"mean {float(error.mean()):.3f}, white ≥ {ERROR_TOP}"
            row += [Panel(truth, "truth"), Panel(error, "absolute error", scale)]
        rows.append(row)
    return image_grid(rows, title=title)


def noise_level_figure(
    sigmas: Sequence[float],
    residuals: Tensor,
    denoised: Sequence[Tensor],
    *,
    noise_std: float = 0.0,
    title: str = "",
    thumbnails: int = 8,
) -> Figure:
    """Residual and denoised image over the noise levels of one input.

    Args:
        sigmas: N noise levels, decreasing.
        residuals: (N, k), RMS of H D - y after each level, one column per restoration.
        denoised: N denoised images (C, H, W) of the first restoration.
        noise_std: sigma_y, drawn as a line where positive.
        title: above all.
        thumbnails: how many of the denoised images to show.
    """
    shown = _evenly(len(sigmas), thumbnails)
    figure = new_figure(max(len(shown), 5) * 1.05 + 0.4, 4.2, title)
    outline = figure.add_gridspec(2, 1, height_ratios=(1, 2.4))
    cells = outline[0].subgridspec(1, len(shown), wspace=0.04)
    for column, index in enumerate(shown):
        panel = Panel(denoised[index], caption=f"σ = {sigmas[index]:.2g}")
        draw_panel(figure.add_subplot(cells[0, column]), panel, with_title=False)
    axes = figure.add_subplot(outline[1])
    _draw_residuals(axes, sigmas, residuals, noise_std)
    for index in shown:
        axes.axvline(sigmas[index], color=MUTED, linewidth=0.5, alpha=0.35, zorder=0)
    return figure


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, in one piece."""
    write_whole(
        path, lambda file: figure.savefig(file, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    )


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure without pyplot.

    Args:
        width: in inches.
        height: in inches.
        title: above all, "" for none.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    require("matplotlib", "figures")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    if title:
        # A file's name may hold a dollar sign, which is no mathematics.
        figure.suptitle(title, fontsize=8, color=INK, parse_math=False)
    return figure


def finish_axes(axes: Axes, size: float = 6.5) -> None:
    """The style of a chart: small ticks, and a frame at the left and below only.

    Args:
        axes: the chart.
        size: of the tick labels, in points.
    """
    axes.tick_params(which="both", labelsize=size, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)


def _row_inches(row: Sequence[Panel | None]) -> float:
    """Height of a row of cells of width `CELL_INCHES`: its tallest panel and its captions."""
    panels = [panel for panel in row if panel is not None]
    tallest = max((p.pixels.shape[-2] / p.pixels.shape[-1] for p in panels), default=1.0)
    captioned = any(panel.caption for panel in panels)
    return CELL_INCHES * tallest + (0.2 if captioned else 0.05)


def _title(panel: Panel | None) -> str:
    return "" if panel is None else panel.title


def draw_panel(axes: Axes, panel: Panel | None, with_title: bool = True) -> None:
    """One cell of a grid; nothing for None."""
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color="#d0d7de", linewidth=0.6, visible=panel is not None)
    if panel is None:
        return
    if panel.pixels.ndim == 2:
        values = panel.pixels.detach().cpu().numpy()
        axes.imshow(values, cmap="inferno", vmin=0.0, vmax=ERROR_TOP, interpolation="nearest")
    else:
        color = to_uint8(panel.pixels).permute(1, 2, 0).numpy()
        picture = np.repeat(color, 3, axis=2) if color.shape[-1] == 1 else color
        axes.imshow(picture, interpolation="nearest")
    if with_title and panel.title:
        axes.set_title(panel.title, fontsize=8, color=INK, pad=3)
    if panel.caption:
        axes.set_xlabel(panel.caption, fontsize=6.5, color=MUTED, labelpad=2)


def _draw_residuals(
    axes: Axes, sigmas: Sequence[float], residuals: Tensor, noise_std: float
) -> None:
    # A residual of exactly 0 has no place on a logarithmic axis: it is drawn at float32's rounding.
    values = torch.as_tensor(residuals).detach().cpu().float().clamp_min(1e-8).numpy()
    for k in range(values.shape[1]):
        label = "residual, RMS of H D − y" if k == 0 else None
        alpha = 1.0 if k == 0 else 0.35
        axes.plot(sigmas, values[:, k], "o-", ms=3, lw=1.2, color=ACCENT, alpha=alpha, label=label)
    if noise_std > 0:
        label = rf"noise of y, $\sigma_y$ = {noise_std:.3g}"
        axes.axhline(noise_std, color="#dc2626", linewidth=1, linestyle="--", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_xaxis()
    axes.set_xlabel("noise level σ (the run goes from left to right)", fontsize=8, color=INK)
    axes.set_ylabel("residual", fontsize=8, color=INK)
    finish_axes(axes, 7)
    axes.legend(fontsize=7, frameon=False)


def _evenly(count: int, wanted: int) -> list[int]:
    """Indices of at most `wanted` of `count` levels, evenly spread, first and last included."""
    return sorted({round(float(i)) for i in np.linspace(0, count - 1, min(count, wanted))})
