"""Pictures of a machine's records: speed-up and share of the copy bandwidth, op by op."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from benchmarks.cases import Case
from benchmarks.records import Machine, Measured, share, speed_up
from vml_fast.evaluation.figures import INK, MUTED

COLORS = {"reference": "#c3c8d0", "cpp": "#2563eb", "triton": "#d97706", "cuda": "#2563eb"}
NAMES = {"reference": "plain PyTorch", "cpp": "C++", "triton": "Triton", "cuda": "CUDA"}
LAYOUTS = {"nchw": "NCHW", "channels_last": "channels-last"}
DOTS_PER_INCH = 130


def charted_cases(machine: Machine) -> list[Case]:
    """The cases worth a picture: per dtype and memory format the largest that ops share."""
    largest: dict[tuple[str, str], Case] = {}
    ops = machine.ops().values()
    for by_case in ops:
        for case in by_case:
            key = (case.dtype, case.memory_format)
            shared = sum(case in others for others in ops) > 1
            batch = max(c.batch for c in by_case)
            if shared and case.batch == batch and case > largest.get(key, (0,)):
                largest[key] = case
    return list(largest.values())


def label(case: Case) -> str:
    """A case in words."""
    return f"{case.size}², batch {case.batch}, {case.dtype}, {LAYOUTS[case.memory_format]}"


def op_chart(machine: Machine, case: Case, path: Path) -> bool:
    """Two panels of bars, one row per op; False if no op was measured on this case.

    Args:
        machine: its records.
        case: which case.
        path: of the PNG.
    """
    rows = {op: by_case[case] for op, by_case in machine.ops().items() if case in by_case}
    if not rows:
        return False
    backends = [name for name in COLORS if any(name in measured for measured in rows.values())]
    figure = Figure(figsize=(9.5, 0.9 + 0.4 * len(rows)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, rows, [name for name in backends if name != "reference"], "speed-up")
    _bars(right, rows, backends, "share")
    left.set_yticks(range(len(rows)), list(rows), fontsize=8)
    left.set_title("times faster than plain PyTorch", fontsize=9, color=INK, loc="left")
    right.set_title("share of the copy bandwidth", fontsize=9, color=INK, loc="left")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(f"{machine.device}\n{label(case)}", fontsize=9, color=INK, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    return True


def _bars(axes: Axes, rows: dict[str, Measured], backends: list[str], what: str) -> None:
    """Speed-ups grow from 1 on a logarithmic axis, shares from 0 on a linear one."""
    ratio = what == "speed-up"
    height = 0.8 / max(len(backends), 1)
    finite = [1.0]
    for k, backend in enumerate(backends):
        values = [_value(measured, backend, what) for measured in rows.values()]
        places = [i + (k - (len(backends) - 1) / 2) * height for i in range(len(rows))]
        start = 1.0 if ratio else 0.0
        widths = [value - start for value in values]
        axes.barh(places, widths, 0.92 * height, start, color=COLORS[backend], label=NAMES[backend])
        for place, value in zip(places, values, strict=True):
            if math.isfinite(value):
                text = f" {value:.1f}×" if ratio else f" {value:.0%}"
                axes.text(max(value, start), place, text, va="center", fontsize=6.5, color=INK)
                finite.append(value)
    if ratio:
        axes.set_xscale("log")
        axes.set_xlim(0.9 * min(finite), 1.8 * max(finite))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(0, 1.15 * max(finite))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    _style(axes, len(rows))


def _style(axes: Axes, rows: int) -> None:
    axes.set_ylim(rows - 0.45, -0.55)
    axes.axvline(1.0, color=MUTED, linewidth=0.8, zorder=0)
    axes.tick_params(axis="both", labelsize=7.5, length=0, colors=INK)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)


def _value(measured: Measured, backend: str, what: str) -> float:
    if backend not in measured:
        return math.nan
    return speed_up(measured, backend) if what == "speed-up" else share(measured[backend])
