"""deepinv beside a CPU build of torch, for the tests and benchmarks that set it beside ours.

deepinv needs torchvision, whose compiled operations do not load beside every build of torch; its
import then fails on the first one that it describes. deepinv calls none of them, so their names are
enough. diffusers imports torchvision too where it is installed: so import this before a network.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest
import torch

NAMELESS = "operator torchvision::"
"""How torch begins to say that torchvision's compiled operations are not there."""
NAMES = ("nms", "qnms")
"""What torchvision's `_meta_registrations.py` describes without asking whether it is there."""
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_defined: list[torch.library.Library] = []
"""Kept: a library takes its names with it."""


def import_deepinv() -> Any:
    """The package, with its samplers.

    Raises:
        Exception: whatever its import raises.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if not str(error).startswith(NAMELESS):
            raise
        _define_names()
    return importlib.import_module("deepinv")


def deepinv_or_skip() -> Any:
    """The package; the module that asks is skipped where deepinv is not installed, and only there.

    Raises:
        Exception: it is installed, but does not import.
    """
    if importlib.util.find_spec("deepinv") is None:
        pytest.skip("deepinv is not installed: `make test-peers`", allow_module_level=True)
    return import_deepinv()


def _define_names() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for name in NAMES:
        library.define(name + SCHEMA)
    _defined.append(library)
