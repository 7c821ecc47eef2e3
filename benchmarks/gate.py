"""The correctness gate: nothing is timed that does not agree with its reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

Call = Callable[..., Any]
FLOAT32_TOLERANCE = 1e-5
HALF_PRECISION = (torch.bfloat16, torch.float16)


class Work(NamedTuple):
    """What one call of an op is given, and what it costs.

    Attributes:
        arguments: of the op's reference.
        overwritten: positions of arguments that the op writes in place, which are its results.
        moved: the fewest bytes that the call reads and writes; None for all arguments and results.
        flops: floating-point operations, where they and not the bytes may set the time.
    """

    arguments: tuple[Any, ...]
    overwritten: tuple[int, ...] = ()
    moved: int | None = None
    flops: int = 0


def nbytes(values: Any) -> int:
    """The bytes of every tensor in a tuple, or of one tensor."""
    if isinstance(values, Tensor):
        return values.numel() * values.element_size()
    return sum(nbytes(v) for v in values) if isinstance(values, tuple | list) else 0


def results(call: Call, work: Work) -> tuple[Tensor, ...]:
    """What a call on copies of the arguments returns or overwrites."""
    copies = tuple(a.clone() if isinstance(a, Tensor) else a for a in work.arguments)
    returned = call(*copies)
    if work.overwritten:
        returned = tuple(copies[i] for i in work.overwritten)
    outputs = returned if isinstance(returned, tuple) else (returned,)
    return tuple(torch.view_as_real(t) if t.is_complex() else t for t in outputs)


def relative_error(found: Tensor, truth: Tensor) -> float:
    """The largest error over the largest entry of the truth; infinite for NaN."""
    error = (found.double() - truth.double()).abs().max().item()
    scale = truth.double().abs().max().item() or 1.0
    return error / scale if error == error else float("inf")


def in_float64(work: Work) -> Work:
    """The same operands with every floating tensor in float64."""
    arguments = (
        a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in work.arguments
    )
    return work._replace(arguments=tuple(arguments))


def check(call: Call, reference: Call, work: Work) -> None:
    """Compare an implementation with its reference on the arguments that will be timed.

    Results agree with those of the reference to 1e-5 of the largest entry in float32. Where they do
    not, or in half precision, the error against float64 is at most 1e-5 or twice that of the
    reference in the same precision, which need not be the better one of the two.

    Raises:
        AssertionError: they differ; nothing may be timed then.
    """
    found, expected = results(call, work), results(reference, work)
    half = any(isinstance(a, Tensor) and a.dtype in HALF_PRECISION for a in work.arguments)
    truths: tuple[Tensor, ...] = ()
    assert len(found) == len(expected)
    for i, (value, other) in enumerate(zip(found, expected, strict=True)):
        assert (value.shape, value.dtype) == (other.shape, other.dtype)
        if not half and relative_error(value, other) <= FLOAT32_TOLERANCE:
            continue
        truths = truths or results(reference, in_float64(work))
        limit = max(2.0 * relative_error(other, truths[i]), FLOAT32_TOLERANCE)
        assert relative_error(value, truths[i]) <= limit
