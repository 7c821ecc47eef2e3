"""Values of options that mean the same in several commands."""

from __future__ import annotations

from collections.abc import Iterable

from vml_fast.errors import InputError


def check_name(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise an InputError unless `value` is one of the allowed names."""
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")


def check_seed(name: str, seed: int) -> int:
    """A seed that fits into 63 bits."""
    if not 0 <= seed < 2**63:
        raise InputError(f"{name} is {seed}; it must be in 0…2^63-1")
    return seed
