"""The record of a comparison: one file per finished cell, and all of them in one.

    OUT/cells/NAME.json     a finished cell, written in one piece
    OUT/cells/NAME.png      its first restorations side by side, for the figures
    OUT/cells/NAME.lock     held while a process works on the cell
    OUT/results.json        all finished cells

A cell is done if either of the first or the last holds it, so `results.json` alone is a whole
record. Any number of processes can work on one record: each locks the cell it works on, and the
system drops the lock of a process that ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.files import check_writable, write_json, write_whole
from vml_fast.evaluation.images import read_picture, write_picture

RESULTS = "results.json"
KEPT_IMAGES = 4
"""Restorations of a cell that are kept."""
CELLS = "cells"

Record = dict[str, Any]


class Store:
    """The finished cells of one prior on one data set, in one folder.

    Args:
        folder: where; made where missing.
        provenance: JSON, what decides the results beside the cells: weights, data, seed.
        overwrite: remove records of another provenance, in place of refusing to mix them.

    Raises:
        InputError: not a writable folder, a damaged record, or one of another provenance.
    """

    def __init__(
        self, folder: Path, provenance: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        self.folder = folder
        self.cells = folder / CELLS
        self.provenance: dict[str, Any] = json.loads(json.dumps(provenance))
        self._read_merged: tuple[int, dict[str, Record]] = (0, {})  # when it was written, and it
        check_writable(folder)
        self._check_provenance(overwrite)
        self.cells.mkdir(parents=True, exist_ok=True)

    def record(self, cell: Cell) -> Record | None:
        """What the cell gave, be it a reason why not; None where it was not run."""
        name = self._name(cell)
        path = self.cells / f"{name}.json"
        return _read(path) if path.is_file() else self._merged().get(name)

    def records(self) -> dict[str, Record]:
        """All finished cells by name."""
        found = dict(self._merged())
        for path in sorted(self.cells.glob("*.json")):
            found[path.stem] = _read(path)
        return found

    def images(self, cell: Cell) -> Tensor | None:
        """The first restorations (B, 3, H, W), of 8 bits; None where there are none."""
        path = self.cells / f"{self._name(cell)}.png"
        if not path.is_file():
            return None
        strip = read_picture(path).pixels
        count = min(KEPT_IMAGES, cell.images)
        return torch.stack(strip.split(strip.shape[2] // count, dim=2))

    @contextmanager
    def claim(self, cell: Cell) -> Iterator[bool]:
        """Whether this process is to run the cell: not done, and no other one works on it."""
        path = self.cells / f"{self._name(cell)}.lock"
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            if not _is_at(lock, path):  # whoever held it has just ended, and removed the file
                yield False
                return
            # Asked for under the lock: another process may have just finished the cell.
            try:
                yield not self.is_done(cell)
            finally:
                path.unlink(missing_ok=True)

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell has a result; what failed is tried again by the next run."""
        record = self.record(cell)
        return record is not None and "failed" not in record

    def save(self, cell: Cell, record: Record, images: Tensor | None) -> None:
        """Keep a finished cell; the record last, since it says that the cell is done."""
        name = self._name(cell)
        if images is not None and images.shape[1] in (1, 3):
            strip = torch.cat(list(images[:KEPT_IMAGES]), dim=2)
            write_picture(self.cells / f"{name}.png", strip)
        whole = {"cell": cell.identity(), "provenance": self.provenance, **record}
        write_json(self.cells / f"{name}.json", whole)

    def merge(self, cells: Sequence[Cell]) -> int:
        """Write all finished cells into `results.json`, those given first, in their order.

        Returns:
            How many of the given cells are done.
        """
        found = self.records()
        wanted = [name for name in map(self._name, cells) if name in found]
        order = dict.fromkeys([*wanted, *sorted(found)])
        lines = []  # a line per cell, so that differences between two versions can be read
        for name in order:
            kept = {key: value for key, value in found[name].items() if key != "provenance"}
            lines.append(f"{json.dumps(name)}: {json.dumps(kept, allow_nan=False)}")
        head = f'{{"provenance": {json.dumps(self.provenance)},\n"cells": {{\n'
        text = head + ",\n".join(lines) + "\n}}\n"
        write_whole(self.folder / RESULTS, lambda file: file.write(text.encode()))
        return len(set(wanted))

    def _name(self, cell: Cell) -> str:
        return cell.name(self.provenance)

    def _merged(self) -> dict[str, Record]:
        path = self.folder / RESULTS
        if not path.is_file():
            return {}
        stamp = path.stat().st_mtime_ns
        if self._read_merged[0] != stamp:
            self._read_merged = stamp, dict(_read(path)["cells"])
        return self._read_merged[1]

    def _check_provenance(self, overwrite: bool) -> None:
        paths = [self.folder / RESULTS, *sorted(self.cells.glob("*.json"))]
        for path in paths:
            if not path.is_file():
                continue
            former = _read(path)["provenance"]
            if former == self.provenance:
                continue
            if overwrite:
                self._remove(path)
                continue
            keys = [*self.provenance, *former]
            key = next(k for k in keys if former.get(k) != self.provenance.get(k))
            raise InputError(
                f"{path} was made with {key} {former.get(key)!r}, now it is "
                f"{self.provenance.get(key)!r}; choose another --output, or pass --overwrite to "
                "remove what other priors, data or seeds gave"
            )

    def _remove(self, path: Path) -> None:
        """A record, its restorations, and the figures, some of which show them."""
        path.unlink()
        path.with_suffix(".png").unlink(missing_ok=True)
        for figure in (self.folder / "figures").glob("*.png"):
            figure.unlink()


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def holds_records(folder: Path) -> bool:
    """Whether a folder has the record of a comparison, of at least one finished cell."""
    return (folder / RESULTS).is_file() or any((folder / CELLS).glob("*.json"))


def _read(path: Path) -> Record:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or not isinstance(record["provenance"], dict):
            raise ValueError("it must be an object with a provenance")
        if path.name == RESULTS and not isinstance(record.get("cells"), dict):
            raise ValueError("it must hold cells")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is not the record of a comparison; choose another --output or remove it"
        ) from error
    return record
