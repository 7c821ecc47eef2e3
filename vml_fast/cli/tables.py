"""The same table on the terminal and in a Markdown file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

Rows = Iterable[Sequence[str]]


def print_table(console: Console, title: str, header: Sequence[str], rows: Rows) -> None:
    """Print a table; the first column is text, the others are numbers."""
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)


def markdown(header: Sequence[str], rows: Rows) -> str:
    """A Markdown table, likewise."""
    cells = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n"
