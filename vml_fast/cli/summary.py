"""What `restore` prints at its end: a table of its restorations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROWS_SHOWN = 20
COLUMNS = {
    "psnr": ("PSNR, dB", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "residual": ("residual", ".2e"),
    "seconds": ("seconds", ".2f"),
}


def print_summary(entries: list[dict[str, Any]], folder: Path) -> None:
    """Print one row per restoration (the first `ROWS_SHOWN`), their mean, and where they are."""
    columns = [key for key in COLUMNS if any(entry[key] is not None for entry in entries)]
    table = Table(box=None, pad_edge=False)
    table.add_column("input")
    table.add_column("sample", justify="right")
    for key in columns:
        table.add_column(COLUMNS[key][0], justify="right")
    for entry in entries[:ROWS_SHOWN]:
        cells = [show(entry[key], COLUMNS[key][1]) for key in columns]
        table.add_row(entry["input"], str(entry["sample"]), *cells)
    if len(entries) > ROWS_SHOWN:
        table.add_row(f"… {len(entries) - ROWS_SHOWN} more", "")
    if len(entries) > 1:
        table.add_section()
        table.add_row("mean", "", *(show(mean(entries, key), COLUMNS[key][1]) for key in columns))
    console = Console()
    console.print(table)
    console.print(f"wrote {len(entries)} restorations to {folder}", markup=False, soft_wrap=True)


def mean(entries: list[dict[str, Any]], key: str) -> float | None:
    """Mean of the values that are known."""
    values = [entry[key] for entry in entries if entry[key] is not None]
    return sum(values) / len(values) if values else None


def show(value: float | None, form: str) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else format(value, form)
