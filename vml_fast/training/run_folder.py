"""The folder of a training run: its file names, its log, and whether a run may begin in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vml_fast.errors import InputError
from vml_fast.evaluation.files import Kind, check_writable, inspect
from vml_fast.training.checkpoint import write_text

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
SUMMARY = "summary.json"
PRIOR = "prior"
PRIOR_FLOAT16 = "prior-float16"


def check_run_folder(out: Path, resume: bool) -> None:
    """Check, before any work, that a run can be written into a folder.

    Raises:
        InputError: it is a file, cannot be made or written, or holds a run that is not resumed.
    """
    check_writable(out, "out")
    held = inspect(out / CHECKPOINT, "out") is not Kind.MISSING
    if held and not resume:
        raise InputError(f"out must not hold a run unless it is resumed, got {out}")
    if resume and not held:
        raise InputError(f"out must hold a checkpoint of train-prior to resume, got {out}")


def read_log(run: Path) -> list[dict[str, Any]]:
    """Entries of the log of a run folder, oldest first.

    Raises:
        InputError: there is no log, or it is damaged.
    """
    try:
        lines = (run / LOG).read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
        if not all(isinstance(entry["step"], int) for entry in entries):
            raise TypeError("step must be a whole number")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"out must hold the whole log of its run, but {run / LOG} cannot be read ({reason})"
        ) from error
    return entries


def append_log(run: Path, entry: dict[str, Any]) -> None:
    """Add an entry to the log of a run folder, which is made if missing."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def shorten_log(run: Path, step: int) -> None:
    """Drop the entries after a step, which a resumed run writes again.

    Raises:
        InputError: as for `read_log`.
    """
    kept = [entry for entry in read_log(run) if entry["step"] <= step]
    write_text(run / LOG, "".join(json.dumps(entry) + "\n" for entry in kept))
