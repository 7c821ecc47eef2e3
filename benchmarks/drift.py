"""Tabulates the drift of `vml_fast.accelerate` on held-out emoji, per noise level.

    python -m benchmarks.drift               # bfloat16 works on every processor, slowly on some

writes `docs/results/drift-emoji64/`: the record, and the table made of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vml_fast as vf
from benchmarks.machine import DEVICE, machine_record
from vml_fast.evaluation.drift import Drift, drift
from vml_fast.evaluation.files import write_json, write_whole
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.tables import markdown
from vml_fast.schedules import edm_schedule

FOLDER = Path(__file__).parents[1] / "docs" / "results" / "drift-emoji64"
PRIOR, DTYPES = "emoji64", ("float32", "bfloat16")
LEVELS = 20
COLUMNS = ("σ", "D, in units of c_out", "D, share of its own error", "Jᵀv, relative")


def noise_levels(count: int) -> list[float]:
    """Those that a solve of N = `count` visits."""
    return edm_schedule(count).tolist()


def page(record: dict[str, Any]) -> str:
    """The tables of a record, as Markdown."""
    about = record["machine_info"]
    parts = [
        "# Drift of the accelerated emoji64\n",
        f"Change of the denoiser D and of the product Jᵀv by `vf.accelerate`, RMS over "
        f"{len(record['images'])} held-out emoji, against the plain network in float32; the noise "
        f"levels are those of a solve with N = {len(record['levels'])}.\n"
        f"Measured on {about['device']}, torch {about['torch']}; written by "
        "`python -m benchmarks.drift`.\n",
    ]
    for dtype, rows in record["drift"].items():
        parts += [f"## {dtype}\n", markdown(COLUMNS, [cells(Drift(**row)) for row in rows])]
    return "\n".join(parts)


def cells(found: Drift) -> tuple[str, ...]:
    """A row of the table."""
    return f"{found.sigma:.3g}", *(f"{value:.1e}" for value in found[1:])


def measure(images: int, levels: Sequence[float]) -> dict[str, Any]:
    """The record."""
    names, truth = heldout_emoji(limit=images)
    truth = truth.to(DEVICE)
    plain = vf.load_denoiser(PRIOR, device=DEVICE)
    rows = {}
    for dtype in DTYPES:
        fast = vf.accelerate(plain, dtype)
        found = drift(
            plain, fast, truth, levels, say=lambda text, d=dtype: print(d, text, flush=True)
        )
        rows[dtype] = [row._asdict() for row in found]
    return {
        "machine_info": machine_record(),
        "images": names,
        "levels": list(levels),
        "drift": rows,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the record and its page."""
    parser = argparse.ArgumentParser(description="Tabulate the drift per noise level.")
    parser.add_argument("--images", type=int, default=4, help="held-out emoji")
    parser.add_argument("--levels", type=int, default=LEVELS, help="noise levels of the schedule")
    parser.add_argument("--output", type=Path, default=FOLDER)
    given = parser.parse_args(arguments)
    record = measure(given.images, noise_levels(given.levels))
    given.output.mkdir(parents=True, exist_ok=True)
    write_json(given.output / "drift.json", record)
    write_whole(given.output / "README.md", lambda file: file.write(page(record).encode()))
    print(given.output)


if __name__ == "__main__":
    main()
