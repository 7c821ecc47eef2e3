"""Files of a run: which inputs there are, and writing each result in one piece."""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from vml_fast.errors import InputError
from vml_fast.evaluation.text import shorten

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
ARRAY_SUFFIX = ".npy"
INPUT_SUFFIXES = (*PICTURE_SUFFIXES, ARRAY_SUFFIX)
# Names are written as <name>-<what>.png; file systems allow 255 bytes.
MAX_STEM_BYTES = 200
PATH_WIDTH = 120
"""Characters of a path in a sentence."""


class Kind(Enum):
    """What is at a path."""

    MISSING = "missing"
    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


def inspect(path: Path, name: str) -> Kind:
    """What is at `path`, links followed.

    Args:
        path: need not exist.
        name: of the argument, for the error.

    Raises:
        InputError: the file system does not tell: a name is too long, or a folder closed.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Kind.MISSING
    except OSError as error:
        raise InputError(
            f"{name} {shorten(path, PATH_WIDTH)} cannot be used: {error.strerror}"
        ) from error
    if stat.S_ISDIR(mode):
        return Kind.FOLDER
    return Kind.FILE if stat.S_ISREG(mode) else Kind.OTHER


def find_inputs(inputs: Iterable[Path]) -> list[Path]:
    """Files to work on, in the order given; a folder stands for its own files, sorted by name.

    Args:
        inputs: files and folders. Folders are not searched recursively, and their files with other
            suffixes than `INPUT_SUFFIXES` or a leading dot are passed over.

    Returns:
        At least one path; their stems all differ, since results are named after them.

    Raises:
        InputError: a path is missing, of another kind or without inputs, or two stems are equal.
    """
    found = [path for given in inputs for path in _expand(Path(given))]
    if not found:
        raise InputError("no INPUT was given; name at least one file or folder of images")
    by_stem: dict[str, Path] = {}
    for path in found:
        # Folded, because some file systems do not tell A.png from a.png.
        other = by_stem.setdefault(path.stem.casefold(), path)
        if other is not path:
            raise InputError(
                f"inputs {other} and {path} would both write results named {path.stem}; "
                "rename one of them or restore them into different folders"
            )
    return found


def _expand(path: Path) -> list[Path]:
    kind = inspect(path, "input")
    if kind is Kind.FOLDER:
        return _files_of(path)
    if kind is Kind.MISSING:
        raise InputError(f"input {path} does not exist; give a file or a folder")
    if kind is Kind.OTHER:
        raise InputError(f"input {path} is neither a file nor a folder")
    if path.suffix.lower() not in INPUT_SUFFIXES:
        raise InputError(f"input {path} has the suffix '{path.suffix}'; allowed are {_suffixes()}")
    if len(os.fsencode(path.stem)) > MAX_STEM_BYTES:
        raise InputError(
            f"input name {path.stem[:20]}… is {len(os.fsencode(path.stem))} bytes long; "
            f"at most {MAX_STEM_BYTES} are allowed"
        )
    return [path]


def _files_of(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"input folder {folder} cannot be read: {error.strerror}") from error
    found = [
        path
        for entry in entries
        if entry.suffix.lower() in INPUT_SUFFIXES
        and not entry.name.startswith(".")
        and entry.is_file()
        for path in _expand(entry)
    ]
    if not found:
        raise InputError(f"input folder {folder} holds no images; it needs files in {_suffixes()}")
    return found


def _suffixes() -> str:
    return ", ".join(INPUT_SUFFIXES)


def check_writable(folder: Path, name: str = "output") -> None:
    """Check that `folder`, which need not exist yet, can be made and written into.

    Args:
        folder: where results are to go.
        name: of the argument, for the error.

    Raises:
        InputError: it is a file, cannot be made or is not writable.
    """
    if inspect(folder, name) not in (Kind.FOLDER, Kind.MISSING):
        raise InputError(f"{name} {folder} is a file; it must be a folder")
    missing = [p for p in (folder, *folder.parents) if inspect(p, name) is Kind.MISSING]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{name} folder {shorten(folder, PATH_WIDTH)} is not writable: {error.strerror}"
        ) from error
    finally:
        # Only a question was asked: nothing is left behind.
        for made in missing:
            if made.is_dir():
                made.rmdir()


def refuse_existing(folder: Path, names: Iterable[str], *, overwrite: bool) -> None:
    """Raise an InputError if the output folder holds one of the files, unless it is replaced."""
    present = [name for name in names if (folder / name).exists()]
    if present and not overwrite:
        raise InputError(f"output {folder} holds {', '.join(present)}; --overwrite replaces it")


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file in one piece: under a temporary name beside it, then renamed.

    Args:
        path: its folder must exist; an existing file is replaced.
        write: writes the content to the binary file it is given.

    Raises:
        InputError: the file system refuses; the former content of `path` is then untouched.
    """
    # Unique, so that two runs never share it; hidden, so that it is never taken for an input.
    temporary = path.with_name(f".part-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            write(file)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, in one piece; NaN and infinity are errors (not JSON)."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def as_json(content: Any) -> Any:
    """Nested lists and mappings with what JSON has no numbers for, NaN and infinity, as null."""
    if isinstance(content, dict):
        return {key: as_json(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [as_json(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def refuse_own_folder(output: Path, inputs: Iterable[Path]) -> None:
    """Raise an InputError if the output is a folder of inputs: results would become inputs."""
    for given in map(Path, inputs):
        is_folder = inspect(given, "input") is Kind.FOLDER
        if (given if is_folder else given.parent).resolve() == output.resolve():
            what = "is an input folder too" if is_folder else f"is the folder of the input {given}"
            raise InputError(
                f"output {output} {what}; choose another, or results would be taken for inputs "
                "the next time"
            )
