"""Numbers that users pass, checked: one clear sentence that names the argument."""

from __future__ import annotations

import math
from numbers import Real
from operator import index
from typing import Any

from vml_fast.errors import InputError


def check_count(name: str, value: object, least: int) -> int:
    """A whole number of at least `least`, of Python, NumPy or torch."""
    try:
        count = least - 1 if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        count = least - 1
    if count < least:
        raise InputError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
    return count


def check_number(
    name: str,
    value: Any,
    low: float,
    high: float,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """Return `value` as a finite float in [low, high], without the ends that are open."""
    high_open = high_open or math.isinf(high)
    left, right = "(" if low_open else "[", ")" if high_open else "]"
    if (
        not isinstance(value, Real)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not low <= float(value) <= high
        or (low_open and float(value) == low)
        or (high_open and float(value) == high)
    ):
        raise InputError(
            f"{name} is {value!r}; it must be a number in {left}{low:g}, {high:g}{right}"
        )
    return float(value)


def check_flag(name: str, value: Any) -> bool:
    """Return `value`, which must be True or False: a word would count as True."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; it must be True or False")
    return value
