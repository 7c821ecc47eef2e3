"""The figure of the 2-D experiment: samples over the posterior's density."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vml_fast.denoisers.mixture import GaussianMixture
from vml_fast.evaluation.figures import INK, MUTED, new_figure
from vml_fast.evaluation.studies.samples import Score
from vml_fast.evaluation.studies.toy import SHAPE, Toy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIMIT = 2.2
"""Of both axes."""


def toy_figure(toy: Toy, samples: Mapping[str, Tensor], found: Mapping[str, Score]) -> Figure:
    """Each method's samples over the posterior's density, its modes marked.

    Args:
        toy: the problem.
        samples: (B, 2) by method.
        found: their scores.
    """
    columns = 4
    lines = math.ceil(len(samples) / columns)
    title = (
        "Samples (orange, the larger the more in one place) over the exact posterior density "
        "p(x | y) (blue); red circles: its modes; dashed: H x = y"
    )
    figure = new_figure(columns * 2.6, lines * 2.9 + 0.3, title)
    grid = figure.subplots(lines, columns, squeeze=False)
    density = _density(toy.posterior)
    for axes, (name, points) in zip(grid.ravel(), samples.items(), strict=False):
        _draw(axes, toy, density, points)
        one = found[name]
        axes.set_title(name, fontsize=9, color=INK, pad=3, loc="left")
        axes.set_title(f"coverage {one.coverage:.2f}", fontsize=7, color=MUTED, loc="right", pad=3)
        caption = f"{one.mode_distance:.2f} to nearest mode, {one.mode_gap:.2f} nat below it"
        axes.set_xlabel(caption, fontsize=7, color=MUTED, labelpad=3)
    for axes in grid.ravel()[len(samples) :]:
        axes.set_visible(False)
    return figure


def _density(posterior: GaussianMixture, size: int = 160) -> Tensor:
    line = torch.linspace(-LIMIT, LIMIT, size, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)
    return posterior.log_prob(points).exp().reshape(size, size)


def _draw(axes: Axes, toy: Toy, density: Tensor, points: Tensor) -> None:
    line = torch.linspace(-LIMIT, LIMIT, density.shape[0])
    top = float(density.max())
    levels = [top * share for share in (0.003, 0.02, 0.08, 0.2, 0.4, 0.6, 0.8, 1.0)]
    axes.contourf(line, line, density, levels=levels, cmap="Blues")
    (a, b), y = toy.operator.forward(torch.eye(2).double().reshape(2, *SHAPE)), float(toy.y)
    ends = torch.tensor([-LIMIT, LIMIT])
    axes.plot(ends, (y - float(a) * ends) / float(b), "--", color=MUTED, lw=0.7)
    places, counts = _places(points)
    axes.scatter(
        places[:, 0], places[:, 1], s=2.5 * counts, color="#ea580c", ec="white", lw=0.3, zorder=3
    )
    modes = toy.posterior.modes().flatten(1)
    axes.plot(modes[:, 0], modes[:, 1], "o", color="#b91c1c", ms=9, mew=1.1, mfc="none", zorder=4)
    axes.set_xlim(-LIMIT, LIMIT)
    axes.set_ylim(-LIMIT, LIMIT)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])


def _places(points: Tensor, size: float = 0.04) -> tuple[Tensor, Tensor]:
    """Where samples are, on a grid of squares, and how many: those on a mode hide each other."""
    squares, counts = (points / size).round().unique(dim=0, return_counts=True)
    return squares * size, counts
