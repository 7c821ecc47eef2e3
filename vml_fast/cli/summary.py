"""What `restore` prints at its end: a table of its restorations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from vml_fast.cli.tables import print_table

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

    def numbers(entry: dict[str, Any]) -> list[str]:
        return [show(entry[key], COLUMNS[key][1]) for key in columns]

    rows = [[e["input"], str(e["sample"]), *numbers(e)] for e in entries[:ROWS_SHOWN]]
    if len(entries) > ROWS_SHOWN:
        rows.append([f"… {len(entries) - ROWS_SHOWN} more"])
    if len(entries) > 1:
        rows.append(["mean", "", *numbers({key: mean(entries, key) for key in columns})])
    console = Console()
    header = ["input", "sample", *(COLUMNS[key][0] for key in columns)]
    print_table(console, "", header, rows)
    console.print(f"wrote {len(entries)} restorations to {folder}", markup=False, soft_wrap=True)


def mean(entries: list[dict[str, Any]], key: str) -> float | None:
    """Mean of the values that are known."""
    values = [entry[key] for entry in entries if entry[key] is not None]
    return sum(values) / len(values) if values else None


def show(value: float | None, form: str) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else format(value, form)
