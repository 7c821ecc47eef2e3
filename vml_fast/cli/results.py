"""The folder of a run: files written one by one, and a JSON record that tells what is there.

The rule for what is already in the folder: nothing is ever mixed. A folder that holds a record, or
a file that the run would write, is an error unless `--overwrite` (the former run's files are
removed) or `--resume` (the former run had the same settings; what it finished is kept).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from vml_fast.errors import InputError
from vml_fast.evaluation.files import Kind, check_writable, inspect, write_json
from vml_fast.evaluation.text import shorten


class Existing(Enum):
    """What to do with results that are already there."""

    ERROR = "error"
    OVERWRITE = "overwrite"
    RESUME = "resume"

    @classmethod
    def chosen(cls, *, overwrite: bool, resume: bool = False) -> Existing:
        """From the two flags of the command line, of which one may be set."""
        if overwrite and resume:
            raise InputError("--overwrite and --resume were both given; at most one is allowed")
        if overwrite:
            return cls.OVERWRITE
        return cls.RESUME if resume else cls.ERROR


class Results:
    """The results of one run, in one folder; nothing is touched before `begin`.

    Args:
        folder: where.
        name: file name of the record, such as "restore.json".
        settings: all that decides the results; a resumed run must have the same.
        execution: what does not decide them: device, batch size, versions.
        files: names of all files that the run will write.
        fields: what each entry of the record must have besides "files", and of which types.
        existing: what to do with results that are already there.
        resumable: whether the command has --resume, for messages.

    Attributes:
        entries: JSON objects, one per result; "files" lists the files of each.

    Raises:
        InputError: not a writable folder, or it holds results that `existing` does not allow for.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        settings: dict[str, Any],
        execution: dict[str, Any],
        files: Iterable[str],
        fields: Mapping[str, tuple[type, ...]],
        existing: Existing,
        resumable: bool,
    ) -> None:
        self.folder = folder
        self.path = folder / name
        self.settings = json.loads(json.dumps(settings))  # as a record read back is, to compare
        self.execution = execution
        self.entries: list[dict[str, Any]] = []
        self._fields = fields
        self._resumable = resumable
        self._replaced: dict[str, Any] | None = None
        self._begun = False
        files = list(files)
        record = self._read_record()
        if existing is Existing.OVERWRITE:
            self._replaced = record
        elif record is None:
            self._refuse_mixing(files)
        else:
            self._continue(record, existing)
        self._check_places([name, *files])

    def _read_record(self) -> dict[str, Any] | None:
        if inspect(self.path, "output") is not Kind.FILE:
            return None
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            names = [name for entry in record["results"] for name in entry["files"]]
            if not isinstance(record["settings"], dict) or not all(
                isinstance(n, str) for n in names
            ):
                raise ValueError("settings must be an object and file names text")
            for entry in record["results"]:
                for key, types in self._fields.items():
                    if not isinstance(entry[key], types):
                        raise TypeError(f"{key} must be of another type")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{self.path} is not the record of a run; choose another --output or remove it"
            ) from error
        return record

    def _continue(self, record: dict[str, Any], existing: Existing) -> None:
        if existing is Existing.ERROR:
            resume = " --resume to finish them," if self._resumable else ""
            raise InputError(
                f"output {self.folder} already holds the results of a run ({self.path.name}); "
                f"pass --overwrite to replace them,{resume} or another --output"
            )
        former = record["settings"]
        # A setting that is not named in one of the two records has its default there.
        every = former | self.settings
        changed = [key for key in every if former.get(key) != self.settings.get(key)]
        if changed:
            key = changed[0]
            raise InputError(
                f"{self.path} was made with {key} {_shown(former.get(key))}, "
                f"now it is {_shown(self.settings.get(key))}; --resume needs the same settings"
            )
        self.entries = record["results"]

    def _refuse_mixing(self, files: Iterable[str]) -> None:
        there = next(
            (n for n in files if inspect(self.folder / n, "output") is not Kind.MISSING), None
        )
        if there is not None:
            raise InputError(
                f"output {self.folder} already has a file {there}; "
                "pass --overwrite to replace it or choose another --output"
            )

    def _check_places(self, names: list[str]) -> None:
        """Raise an InputError unless a file can be written under each of the names."""
        for folder in dict.fromkeys((self.folder / name).parent for name in names):
            check_writable(folder)
        for name in names:
            if inspect(self.folder / name, "output") not in (Kind.FILE, Kind.MISSING):
                raise InputError(
                    f"output {self.folder} has a folder {name} in the place of a result; "
                    "remove it or choose another --output"
                )

    def begin(self) -> None:
        """Make the folder, without what is to be replaced; further calls do nothing."""
        if self._begun:
            return
        self._begun = True
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._replaced is not None:
            self._remove(self._replaced)
        self.write(complete=False)

    def _remove(self, record: dict[str, Any]) -> None:
        for name in {name for entry in record["results"] for name in entry["files"]}:
            path = self.folder / name
            # A record is data: it must not reach outside its folder.
            if path.resolve().is_relative_to(self.folder.resolve()):
                path.unlink(missing_ok=True)

    def write(self, *, complete: bool) -> None:
        """Write the record of `entries`, in one piece."""
        content = {
            "complete": complete,
            "settings": self.settings,
            "execution": self.execution,
            "results": self.entries,
        }
        write_json(self.path, content)


def _shown(value: Any) -> str:
    return shorten(json.dumps(value), 60)
