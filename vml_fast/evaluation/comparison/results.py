"""Finished cells as tables: methods by tasks, per metric, noise level and budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vml_fast.evaluation.comparison import budgets
from vml_fast.evaluation.comparison.cell_runner import DIRECTIONS
from vml_fast.evaluation.comparison.cells import INTERPOLATIONS, Cell
from vml_fast.evaluation.comparison.statistics import Estimate, difference, estimate
from vml_fast.evaluation.comparison.tables import FORMATS, MISSING, Entry, Table, entry, shown

PER_IMAGE = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "lpips": "LPIPS (AlexNet)",
    "st_lpips": "ST-LPIPS (AlexNet)",
    "residual": "RMS residual",
}
"""Metrics with one value per image: name in the record to title."""
SETS = {
    "frechet": "Fréchet distance on the prior's features",
    "kernel": "kernel distance on the prior's features (unbiased)",
    "fid": "FID",
    "kid": "KID (unbiased)",
}
"""Distances between the restored set and the true one."""
REFERENCE = "vml-map-pre"
"""The method that the others are compared with, image by image."""
METHOD = "method"
OVERVIEW = ("psnr", "ssim", "residual")

Group = tuple[float, int, int]


@dataclass(frozen=True)
class Done:
    """A finished cell."""

    cell: Cell
    record: Mapping[str, Any]

    @property
    def failed(self) -> str:
        """Why there is nothing; "" where there is something."""
        return str(self.record.get("failed", ""))

    @property
    def passes(self) -> int:
        """Network passes per image: forwards and Jacobian products."""
        return int(self.record.get("denoiser_calls", 0) + self.record.get("vjp_calls", 0))

    @property
    def seconds(self) -> float:
        """Per image."""
        return float(self.record.get("seconds", math.nan)) / self.cell.images

    @property
    def names(self) -> list[str]:
        """Of the images."""
        return list(self.record.get("names", []))

    def values(self, metric: str) -> list[float]:
        """A metric's value for each image, [] where it was not computed."""
        return [float(v) for v in self.record.get("metrics", {}).get(metric, [])]

    def only(self, names: Sequence[str]) -> Done:
        """The same over some of the images."""
        rows = [self.names.index(name) for name in names]
        metrics = {
            metric: [values[i] for i in rows]
            for metric, values in self.record.get("metrics", {}).items()
        }
        return Done(self.cell, {**self.record, "names": list(names), "metrics": metrics})

    @cached_property
    def _estimates(self) -> dict[str, Estimate]:
        return {}

    def estimate(self, metric: str) -> Estimate | None:
        """Mean and interval; None where the metric was not computed."""
        if metric not in self._estimates and (values := self.values(metric)):
            self._estimates[metric] = estimate(values)
        return self._estimates.get(metric)


def groups(cells: Sequence[Cell]) -> list[Group]:
    """The tables' noise levels, budgets and numbers of images, in order of appearance."""
    methods = [cell for cell in cells if cell.method not in INTERPOLATIONS]
    return list(dict.fromkeys(cell.group for cell in methods or cells))


def rows_of(done: Sequence[Done], group: Group) -> list[Done]:
    """The finished cells of a table: those of a group, and the interpolations beside them."""
    noise_std, _, images = group
    return [
        one
        for one in done
        if one.cell.group == group
        or (
            one.cell.method in INTERPOLATIONS
            and (one.cell.noise_std, one.cell.images) == (noise_std, images)
        )
    ]


def group_title(group: Group) -> str:
    """A group in words."""
    noise_std, budget, images = group
    noise = f"σ_y = {noise_std:g}" if noise_std else "noiseless"
    passes = f"at most {budget} network passes" if budget else "no network"
    return f"{noise}, {passes}, {images} image{'s' * (images > 1)}"


def overview(done: Sequence[Done], group: Group) -> Table:
    """PSNR / SSIM / residual of every method and task of a group."""

    def show(one: Done) -> Entry:
        means = {m: e.mean for m in OVERVIEW if (e := one.estimate(m)) is not None}
        return Entry(" / ".join(shown(mean, FORMATS[metric]) for metric, mean in means.items()))

    return _by_task(done, group, "PSNR / SSIM / residual", show, "Means over the images.")


def metric_tables(done: Sequence[Done], group: Group) -> list[Table]:
    """One table per metric that was computed, with intervals, and the differences in PSNR."""
    rows = rows_of(done, group)
    tables = []
    for metric, title in PER_IMAGE.items():
        if any(one.estimate(metric) for one in rows):
            best = _best(rows, metric)
            show = _metric_entry(metric, best)
            tables.append(_by_task(done, group, title, show, "Mean [95 % interval]."))
        if metric == "psnr" and (table := _differences(done, group)):
            tables.append(table)
    for name, title in SETS.items():
        if any(name in one.record.get("sets", {}) for one in rows):
            tables.append(_by_task(done, group, title, _set_entry(name), "Restored set to true."))
    return tables


def cost_table(done: Sequence[Done], group: Group) -> Table:
    """What each method took per image: forwards, Jacobian products, seconds."""
    by_label: dict[str, list[Done]] = {}
    for one in rows_of(done, group):
        if one.cell.method not in INTERPOLATIONS and not one.failed:
            by_label.setdefault(one.cell.label, []).append(one)
    rows = []
    for label, ones in by_label.items():
        settings = dict.fromkeys(budgets.describe(dict(one.cell.settings)) for one in ones)
        seconds = sum(one.seconds for one in ones) / len(ones)
        rows.append(
            [
                Entry(label),
                Entry("; ".join(settings)),
                Entry(_range([one.record["denoiser_calls"] for one in ones])),
                Entry(_range([one.record["vjp_calls"] for one in ones])),
                Entry(_range([one.passes for one in ones])),
                Entry(format(seconds, FORMATS["seconds"])),
            ]
        )
    header = [METHOD, "N×K", "forwards", "Jacobian products", "passes", "seconds per image"]
    note = "Per image; seconds are the mean over the tasks on this machine, in batches, whatever "
    return Table(f"Cost, {group_title(group)}", header, rows, note + "else it was doing.")


def failures(done: Sequence[Done]) -> list[str]:
    """Sentences about the cells that gave nothing."""
    return [f"{one.cell}: {one.failed}" for one in done if one.failed]


def _by_task(
    done: Sequence[Done], group: Group, title: str, show: Callable[[Done], Entry], note: str
) -> Table:
    rows = rows_of(done, group)
    tasks = list(dict.fromkeys(one.cell.task for one in rows))
    labels = list(dict.fromkeys(one.cell.label for one in rows))
    found = {(one.cell.label, one.cell.task): one for one in rows}
    body = []
    for label in labels:
        line = [Entry(label)]
        for task in tasks:
            one = found.get((label, task))
            line.append(MISSING if one is None else Entry("fails") if one.failed else show(one))
        body.append(line)
    return Table(f"{title}, {group_title(group)}", [METHOD, *tasks], body, note)


def _metric_entry(metric: str, best: set[int]) -> Callable[[Done], Entry]:
    def show(one: Done) -> Entry:
        found = one.estimate(metric)
        if found is None:
            return MISSING
        return entry(found, FORMATS[metric], best=id(one) in best)

    return show


def _set_entry(name: str) -> Callable[[Done], Entry]:
    def show(one: Done) -> Entry:
        value = one.record.get("sets", {}).get(name)
        return MISSING if value is None else Entry(format(value, FORMATS[name]))

    return show


def _best(rows: Sequence[Done], metric: str) -> set[int]:
    """The best method of each task, interpolations aside."""
    direction, best = DIRECTIONS[metric], set()
    for task in {one.cell.task for one in rows} if direction else ():
        ranked = [
            (direction * found.mean, id(one))
            for one in rows
            if one.cell.task == task
            and one.cell.method not in INTERPOLATIONS
            and (found := one.estimate(metric))
            and not math.isnan(found.mean)
        ]
        if len(ranked) > 1:
            best |= {name for value, name in ranked if value == max(ranked)[0]}
    return best


def _differences(done: Sequence[Done], group: Group) -> Table | None:
    """PSNR of each method minus that of `REFERENCE`, over pairs of restorations of one image."""
    rows = rows_of(done, group)
    reference = {one.cell.task: one.values("psnr") for one in rows if one.cell.label == REFERENCE}
    others = [one for one in rows if one.cell.label != REFERENCE]
    if not reference or not others:
        return None

    def show(one: Done) -> Entry:
        base = reference.get(one.cell.task)
        if not base:
            return MISSING
        gain = difference(one.values("psnr"), base)
        return MISSING if math.isnan(gain.mean) else entry(gain, "+.2f")

    table = _by_task(
        others, group, f"PSNR minus that of {REFERENCE}, dB", show,
        "Mean of the differences image by image [95 % interval].",
    )  # fmt: skip
    return table


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def budget_tables(cells: Sequence[Cell]) -> list[Table]:
    """Which N, K (or steps) each method of the cells gets at each budget."""
    tables = []
    for noise_std in dict.fromkeys(cell.noise_std for cell in cells):
        chosen = [c for c in cells if c.noise_std == noise_std and c.method not in INTERPOLATIONS]
        if not chosen:
            continue
        wanted = sorted({cell.budget for cell in chosen})
        labels = list(dict.fromkeys(cell.label for cell in chosen))
        body = []
        for label in labels:
            line = [Entry(label)]
            for budget in wanted:
                found = {
                    budgets.describe(dict(cell.settings))
                    for cell in chosen
                    if (cell.label, cell.budget) == (label, budget)
                }
                line.append(Entry("; ".join(sorted(found))) if found else MISSING)
            body.append(line)
        noise = f"σ_y = {noise_std:g}" if noise_std else "noiseless"
        header = [METHOD, *(f"{budget} passes" for budget in wanted)]
        note = "N×K: noise levels × gradient steps; N alone: steps of a sampler."
        tables.append(Table(f"What each method gets, {noise}", header, body, note))
    return tables
