"""What the papers found to be better than what, beside what a comparison found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vml_fast.evaluation.comparison.cell_runner import DIRECTIONS
from vml_fast.evaluation.comparison.results import PER_IMAGE, Done
from vml_fast.evaluation.comparison.statistics import Estimate, difference
from vml_fast.evaluation.comparison.tables import FORMATS, MISSING, Entry, Table

MAP_GA = "MAP-GA"
VML_MAP = "VML-MAP"
SOURCES = {
    MAP_GA: "arXiv 2407.20784, Table 1: FID and LPIPS on ImageNet64, noiseless",
    VML_MAP: "arXiv 2512.10524: better than existing methods; its preconditioner",
}
METRICS = ("lpips", "st_lpips", "psnr")
"""What the orderings are asked of: the papers' LPIPS where it was computed, and what stands in."""


class Ordering(NamedTuple):
    """A published order of two methods.

    Attributes:
        source: a key of `SOURCES`.
        task: CLI task name.
        better: the method that the paper found better.
        worse: the other one.
    """

    source: str
    task: str
    better: str
    worse: str


ORDERINGS = (
    Ordering(MAP_GA, "half", "map-ga-d-np", "pigdm"),
    Ordering(MAP_GA, "half", "map-ga-d-np", "ddrm"),
    Ordering(MAP_GA, "half", "pigdm", "ddrm"),
    Ordering(MAP_GA, "sr4", "map-ga-np", "pigdm"),
    Ordering(MAP_GA, "sr4", "map-ga-np", "ddrm"),
    Ordering(MAP_GA, "sr4", "ddrm", "pigdm"),
    *(
        Ordering(MAP_GA, task, f"{form}-np", form)
        for form in ("map-ga", "map-ga-d")
        for task in ("half", "sr4", "deblur-gauss")
    ),
    *(
        Ordering(VML_MAP, task, "vml-map-pre", other)
        for task in ("half", "sr4", "deblur-gauss")
        for other in ("map-ga-d-np", "ddrm", "pigdm", "daps")
    ),
    Ordering(VML_MAP, "sr4", "vml-map-pre", "vml-map"),
    Ordering(VML_MAP, "deblur-gauss", "vml-map-pre", "vml-map"),
)
"""Without a prior MAP-GA has the better FID as a rule; the other rows are the papers' tables."""


def ordering_tables(done: Sequence[Done]) -> list[Table]:
    """Whether each of `ORDERINGS` holds, one table per metric, one column per budget.

    An ordering holds, or is reversed, where the interval of the difference between the two
    methods, image by image, lies on one side of 0; else it is open.

    Args:
        done: finished cells; those without noise are looked at.
    """
    found = {
        (one.cell.task, one.cell.label, one.cell.budget): one
        for one in done
        if one.cell.noise_std == 0 and not one.failed
    }
    wanted = sorted({budget for _, _, budget in found if budget})
    return [table for metric in METRICS if (table := _table(found, metric, wanted)) is not None]


def _table(
    found: dict[tuple[str, str, int], Done], metric: str, wanted: Sequence[int]
) -> Table | None:
    rows = []
    for source, task, better, worse in ORDERINGS:
        line = [
            _entry(found.get((task, better, budget)), found.get((task, worse, budget)), metric)
            for budget in wanted
        ]
        if any(one is not MISSING for one in line):
            rows.append([Entry(f"{better} before {worse}"), Entry(task), Entry(source), *line])
    if not rows:
        return None
    note = "By how much the first one is better, image by image [95 % interval]. "
    note += "; ".join(f"{name}: {text}" for name, text in SOURCES.items()) + "."
    header = ["published order", "task", "paper", *(f"{budget} passes" for budget in wanted)]
    title = f"The papers' orderings, noiseless, by {PER_IMAGE[metric]}"
    return Table(title, header, rows, note)


def _entry(better: Done | None, worse: Done | None, metric: str) -> Entry:
    if better is None or worse is None or better.names != worse.names:
        return MISSING
    ones, others = better.values(metric), worse.values(metric)
    if not ones or not others:
        return MISSING
    if DIRECTIONS[metric] < 0:
        ones, others = others, ones
    gain = difference(ones, others)
    form = "+" + FORMATS[metric]
    interval = f"{gain.low:{form}}, {gain.high:{form}}" if gain.has_interval else ""
    return Entry(f"{verdict(gain)} {gain.mean:{form}}", interval)


def verdict(gain: Estimate) -> str:
    """What a difference says of an ordering: "holds", "reversed", or "open"."""
    if not gain.has_interval or gain.low <= 0 <= gain.high:
        return "open"
    return "holds" if gain.low > 0 else "reversed"
