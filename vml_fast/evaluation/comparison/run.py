"""Runs the cells of a comparison that are not done, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vml_fast.evaluation.comparison.cell_runner import CellRunner, Outcome
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.comparison.store import Store


def run_cells(
    cells: Sequence[Cell],
    runner: CellRunner,
    store: Store,
    *,
    max_seconds: float = float("inf"),
    say: Callable[[Cell, Outcome], object] = lambda cell, outcome: None,
) -> int:
    """Run what no process has done or is doing; each cell is kept as soon as it is done.

    Args:
        cells: in the order to run them.
        runner: how.
        store: where; other processes may work on it.
        max_seconds: no cell is begun after this time.
        say: called after each cell.

    Returns:
        How many cells this process has run.
    """
    start, count = time.monotonic(), 0
    for cell in cells:
        if time.monotonic() - start >= max_seconds:
            break
        if store.is_done(cell):
            continue
        with store.claim(cell) as mine:
            if not mine:
                continue
            outcome = runner.run(cell)
            store.save(cell, outcome.record, outcome.images)
        count += 1
        say(cell, outcome)
    return count
