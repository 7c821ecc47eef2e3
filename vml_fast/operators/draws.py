"""Random numbers for masks, selections and kernels: the same on every machine and version.

Only the raw bit stream of NumPy's PCG64 is used. NumPy guarantees that stream (NEP 19), not the
distributions built on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vml_fast.errors import InputError


def raw_bits(count: int, seed: Any) -> np.ndarray:
    """Return `count` 64-bit words of the stream of `seed` (an integer >= 0)."""
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed is {seed!r}; allowed: an integer of at least 0")
    return np.random.PCG64(int(seed)).random_raw(count)


def uniforms(count: int, seed: Any) -> np.ndarray:
    """Return `count` numbers uniform on (0, 1), float64."""
    return (np.right_shift(raw_bits(count, seed), np.uint64(11)) + 0.5) * 2.0**-53


def permutation(count: int, seed: Any) -> np.ndarray:
    """Return a random order of range(count), int64."""
    return np.argsort(raw_bits(count, seed), kind="stable")
