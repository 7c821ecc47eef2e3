"""Which methods the papers found better than which, beside what a comparison found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product

from vml_fast.evaluation.comparison.cell_runner import DIRECTIONS
from vml_fast.evaluation.comparison.results import PER_IMAGE, Done
from vml_fast.evaluation.comparison.statistics import Estimate, difference
from vml_fast.evaluation.comparison.tables import FORMATS, MISSING, Entry, Table

MAP_GA_LPIPS: dict[str, dict[str, float]] = {
    "box": {"map-ga-d-np": 0.096, "map-ga-d": 0.100, "map-ga-np": 0.113, "map-ga": 0.113,
            "pigdm": 0.151, "ddrm": 0.165},
    "half": {"map-ga-d-np": 0.157, "map-ga-d": 0.164, "map-ga-np": 0.162, "map-ga": 0.164,
             "pigdm": 0.245, "ddrm": 0.264},
    "expand": {"map-ga-d-np": 0.419, "map-ga-d": 0.430, "map-ga-np": 0.388, "map-ga": 0.400,
               "pigdm": 0.479, "ddrm": 0.492},
    "subsample2": {"map-ga-d-np": 0.034, "map-ga-d": 0.036, "map-ga-np": 0.035, "map-ga": 0.036,
                   "pigdm": 0.046, "ddrm": 0.041},
    "alternate-rows": {"map-ga-d-np": 0.015, "map-ga-d": 0.016, "map-ga-np": 0.018,
                       "map-ga": 0.018, "pigdm": 0.019, "ddrm": 0.017},
    "deblur-gauss": {"map-ga-d-np": 0.007, "map-ga-d": 0.008, "map-ga-np": 0.008,
                     "map-ga": 0.010, "pigdm": 0.007, "ddrm": 0.009},
    "sr4": {"map-ga-d-np": 0.148, "map-ga-d": 0.179, "map-ga-np": 0.112, "map-ga": 0.120,
            "pigdm": 0.238, "ddrm": 0.235},
}  # fmt: skip
"""Task to method to LPIPS: Table 1 of MAP-GA (ImageNet64, noiseless), whose deblurring kernel the
paper does not give."""
VML_MAP_TASKS = ("half", "box", "sr4", "deblur-gauss")
"""Inpainting, super-resolution and deblurring, where VML-MAP is said to be better than all."""

PAIRS = (
    *product(("map-ga-d-np", "map-ga-np"), ("pigdm", "ddrm")),
    ("map-ga-d-np", "map-ga-d"),
    ("map-ga-np", "map-ga"),
    ("map-ga-np", "map-ga-d-np"),
    ("pigdm", "ddrm"),
    *product(("vml-map-pre",), ("map-ga-d-np", "map-ga-np", "pigdm", "ddrm")),
)
"""Pairs of methods that the papers compare."""
METRICS = ("lpips", "st_lpips", "psnr")
"""What is asked: the papers' LPIPS where it was computed, and what stands in for it."""

Found = Mapping[tuple[str, str, int], Done]


def published(one: str, other: str, task: str) -> int:
    """+1 where a paper found the first method better, -1 the other; 0 for a tie or nothing said.

    Args:
        one: method.
        other: method.
        task: CLI task name.
    """
    if one == "vml-map-pre":
        return int(task in VML_MAP_TASKS)
    values = MAP_GA_LPIPS.get(task, {})
    if one not in values or other not in values:
        return 0
    return (values[one] < values[other]) - (values[one] > values[other])


def ordering_summaries(done: Sequence[Done]) -> list[Table]:
    """How many tasks keep the published order of each pair, one table per metric.

    Args:
        done: finished cells; those without noise are looked at.
    """
    found = _noiseless(done)
    wanted = _budgets(found)

    def line(pair: tuple[str, str], metric: str) -> list[Entry]:
        return [_counts(found, pair, budget, metric) for budget in wanted]

    note = "Tasks where the order is kept / open / reversed."
    header = [f"{budget} passes" for budget in wanted]
    return _tables("The papers' orderings, noiseless", header, line, note)


def ordering_tables(done: Sequence[Done]) -> list[Table]:
    """What became of the published order of each pair, task by task: per budget and metric."""
    found = _noiseless(done)
    tasks = list(MAP_GA_LPIPS)
    tables = []
    for budget in _budgets(found):

        def line(pair: tuple[str, str], metric: str, budget: int = budget) -> list[Entry]:
            return [_entry(found, pair, task, budget, metric) for task in tasks]

        note = "How much better the one is that the paper found better, paired [95 % interval]."
        title = f"The papers' orderings, noiseless, at most {budget} network passes"
        tables += _tables(title, tasks, line, note)
    return tables


def verdict(gain: Estimate) -> str:
    """What a gain says of an ordering: "kept" or "reversed" if its interval is on one side of 0."""
    if not gain.has_interval or gain.low <= 0 <= gain.high:
        return "open"
    return "kept" if gain.low > 0 else "reversed"


def _noiseless(done: Sequence[Done]) -> Found:
    return {
        (one.cell.task, one.cell.label, one.cell.budget): one
        for one in done
        if one.cell.noise_std == 0 and not one.failed
    }


def _budgets(found: Found) -> list[int]:
    return sorted({budget for _, _, budget in found if budget})


def _tables(
    title: str,
    columns: Sequence[str],
    line: Callable[[tuple[str, str], str], list[Entry]],
    note: str,
) -> list[Table]:
    """A row for each pair, a table for each metric; what is empty is left out."""
    tables = []
    for metric in METRICS:
        lines = {pair: line(pair, metric) for pair in PAIRS}
        rows = [
            [Entry(f"{one}, {other}"), *entries]
            for (one, other), entries in lines.items()
            if any(entry is not MISSING for entry in entries)
        ]
        if rows:
            name = f"{title}, by {PER_IMAGE[metric]}"
            tables.append(Table(name, ["pair", *columns], rows, note))
    return tables


def _counts(found: Found, pair: tuple[str, str], budget: int, metric: str) -> Entry:
    gains = [_gain(found, pair, task, budget, metric) for task in MAP_GA_LPIPS]
    verdicts = Counter(verdict(gain) for gain in gains if gain is not None)
    if not verdicts:
        return MISSING
    return Entry(" / ".join(str(verdicts[name]) for name in ("kept", "open", "reversed")))


def _entry(found: Found, pair: tuple[str, str], task: str, budget: int, metric: str) -> Entry:
    gain = _gain(found, pair, task, budget, metric)
    if gain is None or math.isnan(gain.mean):
        return MISSING
    form = "+" + FORMATS[metric]
    interval = f"{gain.low:{form}}, {gain.high:{form}}" if gain.has_interval else ""
    return Entry(f"{verdict(gain)} {gain.mean:{form}}", interval)


def _gain(
    found: Found, pair: tuple[str, str], task: str, budget: int, metric: str
) -> Estimate | None:
    """By how much the method that the paper found better is better, image by image."""
    one, other = (found.get((task, method, budget)) for method in pair)
    sign = published(*pair, task) * DIRECTIONS[metric]
    if one is None or other is None or sign == 0 or one.names != other.names:
        return None
    values, others = one.values(metric), other.values(metric)
    if not values or not others:
        return None
    return difference(values, others) if sign > 0 else difference(others, values)
