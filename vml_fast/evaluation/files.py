"""Files of a run: which inputs there are, and writing each result in one piece."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from vml_fast.errors import InputError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
ARRAY_SUFFIX = ".npy"
INPUT_SUFFIXES = (*PICTURE_SUFFIXES, ARRAY_SUFFIX)
# Names are written as <name>-<what>.png; file systems allow 255 bytes.
MAX_STEM_BYTES = 200


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
    if path.is_dir():
        return _files_of(path)
    if not path.exists():
        raise InputError(f"input {path} does not exist; give a file or a folder")
    if not path.is_file():
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


def check_writable(folder: Path) -> None:
    """Check that `folder`, which need not exist yet, can be made and written into.

    Raises:
        InputError: it is a file, cannot be made or is not writable.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output {folder} is a file; it must be a folder")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"output folder {folder} is not writable: {error.strerror}") from error
    finally:
        # Only a question was asked: nothing is left behind.
        for made in missing:
            if made.is_dir():
                made.rmdir()


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


def refuse_own_folder(output: Path, inputs: Iterable[Path]) -> None:
    """Raise an InputError if the output is an input folder: results would become inputs."""
    for given in inputs:
        if Path(given).is_dir() and Path(given).resolve() == output.resolve():
            raise InputError(
                f"output {output} is an input folder too; choose another, or results would be "
                "taken for inputs the next time"
            )
