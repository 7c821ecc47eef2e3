"""Which sizes, batches, dtypes and memory formats are timed: three sets, from tiny to all."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
import torch

SETS = ("tiny", "default", "full")
PARAMETERS = ("size", "batch", "dtype", "memory_format")


class Case(NamedTuple):
    """One point of the grid.

    Attributes:
        size: height and width of an image.
        batch: number of images.
        dtype: of the network's tensors; the state is float32.
        memory_format: of all images, "nchw" or "channels_last".
    """

    size: int
    batch: int
    dtype: str
    memory_format: str

    @property
    def network_dtype(self) -> torch.dtype:
        """`dtype` as torch names it."""
        return getattr(torch, self.dtype)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, C, H, W) of a color image."""
        return self.batch, 3, self.size, self.size


TINY = (Case(16, 2, "float32", "nchw"), Case(16, 2, "bfloat16", "channels_last"))
ON_CPU = (
    Case(16, 1, "float32", "nchw"),
    Case(64, 8, "float32", "nchw"),
    Case(256, 8, "float32", "nchw"),
    Case(256, 8, "bfloat16", "channels_last"),
    Case(1024, 1, "float32", "nchw"),
)
ON_CUDA = (
    Case(16, 1, "float32", "nchw"),
    Case(64, 8, "bfloat16", "channels_last"),
    Case(256, 8, "float32", "nchw"),
    Case(256, 8, "bfloat16", "channels_last"),
    Case(1024, 8, "float32", "nchw"),
    Case(1024, 8, "bfloat16", "channels_last"),
)
FULL = tuple(
    itertools.starmap(
        Case,
        itertools.product(
            (64, 256, 1024),
            (1, 8),
            ("float32", "bfloat16", "float16"),
            ("nchw", "channels_last"),
        ),
    )
)


def is_timed(config: pytest.Config) -> bool:
    """Whether benchmarks are timed, or only run once."""
    return bool(config.getoption("benchmark_enable") or not config.getoption("benchmark_disable"))


def chosen_set(config: pytest.Config) -> str:
    """The set of cases: tiny ones where nothing is timed."""
    if config.getoption("--tiny") or not is_timed(config):
        return "tiny"
    return "full" if config.getoption("--full") else "default"


def cases(wanted: str, kind: str) -> tuple[Case, ...]:
    """The cases of a set on a kind of device.

    Args:
        wanted: one of `SETS`.
        kind: "cpu" or "cuda".
    """
    if wanted == "default":
        return ON_CUDA if kind == "cuda" else ON_CPU
    return TINY if wanted == "tiny" else FULL


def of_the_state(chosen: tuple[Case, ...]) -> tuple[Case, ...]:
    """The cases that an op sees which never touches the network's tensors: float32 alone."""
    return tuple(dict.fromkeys(case._replace(dtype="float32") for case in chosen))


def every_format(chosen: tuple[Case, ...]) -> tuple[Case, ...]:
    """The sizes and batches of the cases, each in float32 and bfloat16 and both memory formats."""
    formats = itertools.product(("float32", "bfloat16"), ("nchw", "channels_last"))
    sizes = dict.fromkeys((case.size, case.batch) for case in chosen)
    found = (Case(*size, *form) for size, form in itertools.product(sizes, formats))
    return tuple(dict.fromkeys((*chosen, *found)))


def planar(chosen: tuple[Case, ...]) -> tuple[Case, ...]:
    """The cases of an op on float32 arrays that are no images: one memory format."""
    plain = (case._replace(memory_format="nchw") for case in of_the_state(chosen))
    return tuple(dict.fromkeys(plain))
