"""The figure of the study of preconditioners: errors of each form, and what an SVD costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vml_fast.evaluation.figures import ACCENT, INK, MUTED, finish_axes, new_figure
from vml_fast.evaluation.studies.scaling import FORMS, Cost, Quality

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = dict(zip(FORMS, (MUTED, "#dc2626", ACCENT, "#059669"), strict=True))
DENSE = "dense matrix"
COST_COLORS = {"separable blur": ACCENT, DENSE: "#d97706"}


def scaling_figure(found: Sequence[Quality], spent: Sequence[Cost]) -> Figure:
    """Error against the condition number for each K, and when a decomposition has paid."""
    counts = sorted({one.inner_steps for one in found})
    title = "Blurs of growing width: how near each form comes to the mode, and what the SVD costs"
    figure = new_figure(3.5 * (len(counts) + 1), 3.2, title)
    *errors, cost = figure.subplots(1, len(counts) + 1)
    for axes, inner_steps in zip(errors, counts, strict=True):
        _draw_errors(axes, [one for one in found if one.inner_steps == inner_steps])
        axes.set_title(f"{inner_steps} steps per noise level", fontsize=8, color=INK, loc="left")
        axes.set_ylim(min(one.error for one in found) / 1.5, max(one.error for one in found) * 1.5)
    _draw_costs(cost, spent)
    return figure


def _draw_errors(axes: Axes, found: Sequence[Quality]) -> None:
    for form in FORMS:
        ones = [one for one in found if one.form == form]
        by_cg = form.endswith("CG")
        axes.plot(
            [one.condition for one in ones], [one.error for one in ones], "s" if by_cg else "o-",
            color=COLORS[form], ms=7 if by_cg else 4, lw=1.2, label=form,
            fillstyle="none" if by_cg else "full",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    _label(axes, "condition number of H", "RMS distance to the nearest posterior mode")
    widths = axes.secondary_xaxis("top")
    ones = [one for one in found if one.form == "none"]
    widths.set_xticks([one.condition for one in ones], [f"{one.width:g}" for one in ones])
    widths.tick_params(labelsize=6, colors=MUTED, length=2)
    widths.minorticks_off()
    widths.set_xlabel("blur, standard deviation in pixels", fontsize=6, color=MUTED, labelpad=1)
    widths.spines["top"].set_visible(False)
    axes.legend(fontsize=6.5, frameon=False, loc="upper left")


def _draw_costs(axes: Axes, spent: Sequence[Cost]) -> None:
    """Seconds against applications, at the largest size that a dense matrix was tried at."""
    side = max(one.side for one in spent if one.operator == DENSE)
    counts = [10.0 ** (k / 8) for k in range(25)]
    for one in (one for one in spent if one.side == side):
        color = COST_COLORS[one.operator]
        by_svd = [one.setup + n * one.apply for n in counts]
        by_cg = [n * one.by_cg for n in counts]
        axes.plot(counts, by_cg, "--", color=color, lw=1.1, label=f"{one.operator}, CG")
        axes.plot(counts, by_svd, "-", color=color, lw=1.4, label=f"{one.operator}, SVD")
        if 1 < one.pays_after < counts[-1]:
            axes.plot([one.pays_after], [one.pays_after * one.by_cg], "o", color=color, ms=5)
            text = f"pays after {one.pays_after:.2g}"
            place = (one.pays_after, one.pays_after * one.by_cg)
            axes.annotate(
                text, place, fontsize=6.5, color=color, xytext=(6, -9), textcoords="offset points"
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(f"When an SVD pays: H⁺y at {side}×{side}", fontsize=8, color=INK, loc="left")
    _label(axes, "applications (a solve takes hundreds)", "CPU seconds, set-up included")
    axes.legend(fontsize=6.5, frameon=False)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=7, color=INK)
    axes.set_ylabel(y, fontsize=7, color=INK)
    finish_axes(axes)
