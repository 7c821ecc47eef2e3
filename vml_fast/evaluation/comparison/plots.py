"""Figures of a comparison: restorations side by side, and quality against network passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vml_fast.evaluation.comparison.cell_runner import DIRECTIONS, CellRunner
from vml_fast.evaluation.comparison.cells import INTERPOLATIONS
from vml_fast.evaluation.comparison.results import PER_IMAGE, Done, Group, group_title, rows_of
from vml_fast.evaluation.comparison.store import KEPT_IMAGES, Store
from vml_fast.evaluation.figures import INK, MUTED, Panel, finish_axes, image_grid, new_figure
from vml_fast.evaluation.measurements import measurement_pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (
    "#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#db2777", "#65a30d",
    "#78350f", "#475569", "#a16207", "#1e3a8a",
)  # fmt: skip
MARKERS = "osD^vP*Xp<>h"


def restoration_grid(
    done: Sequence[Done], group: Group, task: str, runner: CellRunner, store: Store
) -> tuple[Figure | None, bool]:
    """Truth, measurement and every method's restoration of a few images, one row per image.

    Returns:
        The figure, None where no restoration of the task is on this machine; and whether every
        finished cell is in it.
    """
    rows = [one for one in rows_of(done, group) if one.cell.task == task and not one.failed]
    kept = [(one, images) for one in rows if (images := store.images(one.cell)) is not None]
    if not kept:
        return None, False
    part = runner.data.part(group[2])
    shown = range(min(KEPT_IMAGES, group[2]))
    y = measurement_pictures(runner.operator(task), runner.measurement(kept[0][0].cell))
    panels: list[list[Panel | None]] = []
    for i in shown:
        line: list[Panel | None] = [Panel(part.images[i], "truth"), Panel(y[i], "measurement")]
        for one, images in kept:
            psnr = one.values("psnr")[i]
            line.append(Panel(images[i], _broken(one.cell.label), f"{psnr:.2f} dB"))
        panels.append(line)
    figure = image_grid(panels, title=f"{task}, {group_title(group)}")
    return figure, len(kept) == len(rows)


def _broken(label: str, width: int = 15) -> str:
    """A label over two lines where it is long."""
    if len(label) <= width:
        return label
    cut = label.rfind(" ", 0, width + 1)
    cut = label.find(" ") if cut < 0 else cut
    return label if cut < 0 else f"{label[:cut]}\n{label[cut + 1 :]}"


def pareto_figure(done: Sequence[Done], metric: str, noise_std: float) -> Figure | None:
    """A metric against the network passes, one panel per task, with the Pareto front.

    Each panel is of the images that all its cells have. The intervals are in the tables: those of
    a dozen methods on a few images cover each other, where the methods' differences, image by
    image, do not.

    Returns:
        The figure; None where no task was done at two budgets.
    """
    panels = {}
    for task in dict.fromkeys(one.cell.task for one in done):
        ones = _on_common(done, metric, noise_std, task)
        if len({one.cell.budget for one in ones if one.cell.budget}) > 1:
            panels[task] = ones
    if not panels:
        return None
    columns = min(4, len(panels))
    lines = math.ceil(len(panels) / columns)
    noise = f"σ_y = {noise_std:g}" if noise_std else "noiseless"
    title = f"{PER_IMAGE[metric]}, against network passes; {noise}; gray: Pareto front"
    figure = new_figure(max(columns * 2.9, 5.5), lines * 2.5 + 1.0, title)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    every = [one for ones in panels.values() for one in ones]
    labels = [o.cell.label for o in every if o.cell.method not in INTERPOLATIONS]
    for panel, (task, ones) in zip(axes, panels.items(), strict=False):
        _draw_task(panel, ones, metric, list(dict.fromkeys(labels)))
        panel.set_title(f"{task}, {len(ones[0].names)} images", fontsize=8, color=INK)
    for panel in axes[len(panels) :]:
        panel.set_visible(False)
    legend = {
        name: handle
        for panel in axes[: len(panels)]
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        legend.values(),
        legend.keys(),
        loc="outside lower center",
        ncols=5,
        fontsize=7,
        frameon=False,
    )
    return figure


def _on_common(done: Sequence[Done], metric: str, noise_std: float, task: str) -> list[Done]:
    """The cells of a task at a noise level, each over the images that all of them have.

    A cell over fewer images than another one of the same method and budget is left out.
    """
    chosen: dict[tuple[str, int], Done] = {}
    for one in done:
        if (one.cell.task, one.cell.noise_std) == (task, noise_std) and one.values(metric):
            key = one.cell.label, one.cell.budget
            if key not in chosen or one.cell.images > chosen[key].cell.images:
                chosen[key] = one
    names = [one.names for one in chosen.values()]
    common = [n for n in min(names, key=len, default=[]) if all(n in others for others in names)]
    return [one.only(common) for one in chosen.values()] if common else []


def _draw_task(axes: Axes, ones: Sequence[Done], metric: str, labels: Sequence[str]) -> None:
    points: list[tuple[float, float]] = []
    for i, label in enumerate(labels):
        line = [one for one in ones if one.cell.label == label and one.passes]
        line.sort(key=lambda one: one.passes)
        found = [(one.passes, one.estimate(metric)) for one in line]
        drawn = [(p, e) for p, e in found if e is not None and math.isfinite(e.mean)]
        if not drawn:
            continue
        x, mean = [p for p, _ in drawn], [e.mean for _, e in drawn]
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        axes.plot(x, mean, marker + "-", color=color, ms=3.5, lw=1.1, label=label)
        points += list(zip(x, mean, strict=True))
    for one in ones:
        found_one = one.estimate(metric)
        if one.cell.method == "bicubic" and found_one is not None:
            axes.axhline(found_one.mean, color=MUTED, lw=0.9, ls=":", label="bicubic")
    front = pareto_front(points, DIRECTIONS[metric])
    if front:
        axes.step(*zip(*front, strict=True), where="post", color=INK, lw=3.5, alpha=0.15, zorder=0)
    axes.set_xscale("log")
    budgets = sorted({one.cell.budget for one in ones if one.cell.budget})
    axes.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("network passes per image", fontsize=7, color=INK)
    finish_axes(axes)


def pareto_front(
    points: Sequence[tuple[float, float]], direction: int
) -> list[tuple[float, float]]:
    """The points that no other one beats with as few passes, by passes.

    Args:
        points: (passes, value).
        direction: +1 where more is better, -1 where less is.
    """
    front: list[tuple[float, float]] = []
    for passes, value in sorted(points, key=lambda point: (point[0], -direction * point[1])):
        if not front or direction * value > direction * front[-1][1]:
            front.append((passes, value))
    return front
