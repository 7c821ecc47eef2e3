"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(
    console: Console, title: str, header: Sequence[str], rows: Iterable[Sequence[str | Text]]
) -> None:
    """Print a table.

    Args:
        console: where.
        title: above it, "" for none.
        header: names of the columns, of which the first is text and the others are numbers; empty
            for a table without names, all text.
        rows: cells, shown as they are: no markup is read in them.
    """
    table = Table(box=None, pad_edge=False, show_header=bool(header))
    for i, name in enumerate(header):
        table.add_column(Text(name), justify="right" if i else "left")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)
