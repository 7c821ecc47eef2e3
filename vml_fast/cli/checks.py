"""Values of options that mean the same in several commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from vml_fast.errors import InputError


def check_name(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise an InputError unless `value` is one of the allowed names."""
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")


def parse_integers(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas.

    Raises:
        InputError: one of them is no whole number.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InputError(
            f"{name} must be whole numbers separated by commas, got {text!r}"
        ) from error


@contextmanager
def naming_options(options: Mapping[str, str]) -> Iterator[None]:
    """Errors about an argument of the library name the option that it came from.

    Args:
        options: argument, the first word of an error, to the option.
    """
    try:
        yield
    except InputError as error:
        name = re.match(r"\w+", str(error))
        if name is None or name[0] not in options:
            raise
        raise InputError(f"{options[name[0]]}{str(error)[name.end() :]}") from error


def check_seed(name: str, seed: int) -> int:
    """A seed that fits into 63 bits."""
    if not 0 <= seed < 2**63:
        raise InputError(f"{name} is {seed}; it must be in 0…2^63-1")
    return seed
