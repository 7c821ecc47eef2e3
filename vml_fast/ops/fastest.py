"""The measured table by which backend="auto" chooses: `fastest.json`, with the device it is from.

Per kind of device and op it holds rules; the first one that fits a call's image says which backend
is fastest. Most ops have a single rule. `python -m benchmarks.fastest` writes the table.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

FASTEST = Path(__file__).parent / "fastest.json"

Implementation = Callable[..., Any]


class Rule(NamedTuple):
    """Which backends are fastest, for some images or for all.

    Attributes:
        order: backends, fastest first.
        dtype: of the images that the rule is for, as torch names it; None for any.
        memory_format: "nchw" (contiguous) or "channels_last" (anything else); None for any.
        elements: of the image at most; None for any number.
    """

    order: tuple[str, ...]
    dtype: str | None = None
    memory_format: str | None = None
    elements: int | None = None


def describe(image: Tensor) -> tuple[str, str, int]:
    """What rules are about: dtype, memory format and number of elements of an image."""
    layout = "nchw" if image.is_contiguous() else "channels_last"
    return str(image.dtype).removeprefix("torch."), layout, image.numel()


def rules(name: str, kind: str) -> tuple[Rule, ...]:
    """The rules of an op on a kind of device ("cpu", "cuda"); the last one is for all images."""
    part = _table().get(kind, {})
    if name in part.get("ops", {}):
        return tuple(Rule(tuple(r["order"]), *_conditions(r)) for r in part["ops"][name])
    return (Rule(tuple(part.get("default", ["reference"]))),)


def measured_on(kind: str) -> str:
    """Where a kind's part of the table was measured, in words."""
    device = _table().get(kind, {}).get("measured_on")
    return f"measured on {device}" if device else "not measured yet"


def by_image(choices: Sequence[tuple[Rule, Implementation]], position: int) -> Implementation:
    """A callable that runs the implementation of the first rule that fits its image.

    Args:
        choices: rules in order, the last one for all images.
        position: of the image among the arguments.
    """
    last = choices[-1][1]
    formats = {(rule.dtype, rule.memory_format) for rule, _ in choices[:-1]}
    table = {
        (getattr(torch, str(dtype)), layout == "nchw"): tuple(
            (math.inf if rule.elements is None else rule.elements, run)
            for rule, run in choices[:-1]
            if (rule.dtype, rule.memory_format) == (dtype, layout)
        )
        for dtype, layout in formats
    }

    def run_fastest(*arguments: Any) -> Any:
        image = arguments[position]
        for most, run in table.get((image.dtype, image.is_contiguous()), ()):
            if image.numel() <= most:
                return run(*arguments)
        return last(*arguments)

    return run_fastest


def summary(kind: str) -> str:
    """In words: which backend is first for how many ops, and which ops depend on the image."""
    names = sorted(_table().get(kind, {}).get("ops", {}))
    if not names:
        return f"{rules('', kind)[0].order[0]} for every op"
    single = [name for name in names if len(rules(name, kind)) == 1]
    first = [rules(name, kind)[0].order[0] for name in single]
    parts = [f"{backend} for {first.count(backend)} ops" for backend in dict.fromkeys(first)]
    varying = [name for name in names if name not in single]
    if varying:
        parts.append(f"by dtype, layout and size for {', '.join(varying)}")
    return ", ".join(parts)


def _conditions(rule: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(rule.get(name) for name in Rule._fields[1:])


@functools.cache
def _table() -> dict[str, Any]:
    return json.loads(FASTEST.read_text(encoding="utf-8"))
