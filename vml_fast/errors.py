"""The exceptions that the package raises on purpose: one clear sentence each."""

from __future__ import annotations

import importlib
from types import ModuleType


class InputError(ValueError):
    """An argument is outside what is allowed; the message names it, its value and the range."""


class BackendUnavailable(RuntimeError):
    """A backend was asked for by name and cannot run here; the message says why."""


class MissingExtra(ImportError):
    """An optional package is needed; the message names the extra that installs it."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Args:
        module: dotted name of the module to import.
        extra: the extra of this package that installs it.

    Returns:
        The imported module.

    Raises:
        MissingExtra: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        message = f"{name} is not installed; install it with: pip install 'vml-fast[{extra}]'"
        raise MissingExtra(message) from error


def one_line(error: BaseException | str) -> str:
    """The first line of another's error, short and without stops: it fits into a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".").replace(". ", "; ")[:200]
