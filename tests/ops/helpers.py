"""What the op tests share: backends that run here, memory layouts, and how errors are judged."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vml_fast.ops import OPS, availability, resolve

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DEVICES = {"reference": "cpu", "cpp": "cpu", "triton": DEVICE, "cuda": "cuda"}
"""Where each backend is tested."""

KERNEL_BACKENDS = [
    name for name, reason in availability().items() if name != "reference" and reason is None
]
"""Backends besides the reference that run here; TRITON_INTERPRET=1 adds Triton on the CPU."""

BACKENDS = [
    pytest.param(name, marks=[pytest.mark.gpu] if DEVICES[name] == "cuda" else [])
    for name in KERNEL_BACKENDS
]
kernels = pytest.mark.parametrize("backend", BACKENDS)
"""The same test on every backend in KERNEL_BACKENDS."""
everywhere = pytest.mark.parametrize("backend", ["reference", *BACKENDS])
"""The same test on those and on the reference."""

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Triton's interpreter takes seconds per million elements: large cases are for compiled code."""

NETWORK_DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]

FLOAT32_TOLERANCE = 1e-5
"""Relative to the largest entry: a few roundings of float32 and a different order of sums."""

Arguments = tuple[object, ...]
Outputs = tuple[Tensor, ...]


def nchw(t: Tensor) -> Tensor:
    return t.contiguous()


def channels_last(t: Tensor) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last)


def padded(t: Tensor) -> Tensor:
    """Every dimension is a slice of a larger one, with step 2 along the last."""
    b, c, h, w = t.shape
    big = torch.full((b + 1, c + 1, h + 2, 2 * w + 3), float("nan")).to(t)
    view = big[1:, :c, 1 : h + 1, 1 : 2 * w + 1 : 2]
    return view.copy_(t)


def transposed(t: Tensor) -> Tensor:
    """Columns are adjacent in memory."""
    return t.transpose(2, 3).contiguous().transpose(2, 3)


def shared(t: Tensor) -> Tensor:
    """Stride 0 along samples and rows: the first ones stand for all."""
    return t[:1, :, :1].expand(t.shape)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "nchw": nchw,
    "channels_last": channels_last,
    "padded": padded,
    "transposed": transposed,
    "shared": shared,
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)

SHAPES = [
    (2, 3, 8, 8),
    (1, 1, 1, 1),  # a single element
    (3, 4, 5, 7),  # odd sizes: no dimension is a multiple of a vector
    (2, 3, 33, 65),  # more than one stretch of every vector width, with a remainder
    (0, 3, 8, 8),  # an empty batch
    (2, 3, 9, 1),  # a column: pixels are rows
    (2, 1, 1, 9),  # a row
]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
network_dtypes = pytest.mark.parametrize("dtype", NETWORK_DTYPES, ids=str)
network_formats = pytest.mark.parametrize("layout", ["nchw", "channels_last"])


def placed(arguments: Arguments, layout: str) -> Arguments:
    """Every image (a floating or complex tensor of four dimensions) in a memory layout."""
    place = LAYOUTS[layout]
    return tuple(place(a) if _is_image(a) else a for a in arguments)


def _is_image(a: object) -> bool:
    return isinstance(a, Tensor) and a.ndim == 4 and (a.is_floating_point() or a.is_complex())


def random_coefficients(batch: int, columns: int = 5) -> Tensor:
    return torch.rand(batch, columns) + 0.25


def on_device(backend: str, *arguments: object) -> list:
    """The arguments with all tensors where the backend wants them, strides and all."""
    return [_moved(a, DEVICES[backend]) if isinstance(a, Tensor) else a for a in arguments]


def _moved(t: Tensor, device: str) -> Tensor:
    """`Tensor.to` would make expanded and padded tensors dense."""
    if t.device.type == device:
        return t
    storage = torch.empty(0, dtype=t.dtype, device=t.device).set_(t.untyped_storage())
    return storage.to(device).as_strided(t.shape, t.stride(), t.storage_offset())


def run(name: str, backend: str, *arguments: object) -> Outputs:
    """The op on a backend, all tensors moved to its device; a tuple of CPU tensors comes back."""
    result = resolve(name, backend, DEVICES[backend])(*on_device(backend, *arguments))
    outputs = result if isinstance(result, tuple) else (result,)
    return tuple(t.cpu() for t in outputs)


def relative_max_error(value: Tensor, truth: Tensor) -> float:
    """Largest error over the largest entry of the truth; 0 for empty tensors, inf for NaN."""
    if truth.numel() == 0:
        return 0.0
    precise = torch.complex128 if truth.is_complex() else torch.float64
    error = (value.to(precise) - truth.to(precise)).abs().max().item()
    scale = truth.to(precise).abs().max().item() or 1.0
    return error / scale if error == error else float("inf")


def assert_agrees(values: Outputs, truths: Outputs, tolerance: float = FLOAT32_TOLERANCE) -> None:
    """Same shapes and dtypes, and each output within `tolerance` of the truth."""
    assert len(values) == len(truths)
    for value, truth in zip(values, truths, strict=True):
        assert value.shape == truth.shape
        assert value.dtype == truth.dtype
        assert relative_max_error(value, truth) <= tolerance


def assert_backend_agrees(name: str, backend: str, arguments: Arguments) -> None:
    """A backend computes what the reference does."""
    assert_agrees(run(name, backend, *arguments), run(name, "reference", *arguments))


def in_float64(arguments: Arguments) -> Arguments:
    """The same arguments with every floating tensor in float64, every complex one in complex128."""
    return tuple(_precise(a) if isinstance(a, Tensor) else a for a in arguments)


def _precise(t: Tensor) -> Tensor:
    if t.is_complex():
        return t.to(torch.complex128)
    return t.double() if t.is_floating_point() else t


def assert_no_worse_than_torch(values: Outputs, torch_values: Outputs, exact: Outputs) -> None:
    """Each output's error against float64 is at most twice that of PyTorch in the same dtypes."""
    for value, other, truth in zip(values, torch_values, exact, strict=True):
        assert value.dtype == other.dtype
        limit = max(2.0 * relative_max_error(other, truth), FLOAT32_TOLERANCE)
        assert relative_max_error(value, truth) <= limit


def assert_backend_no_worse_than_torch(name: str, backend: str, arguments: Arguments) -> None:
    """A backend's error against float64 is at most twice that of the reference in these dtypes."""
    exact = resolve(name, "reference", dtype=torch.float64)(*in_float64(arguments))
    truths = exact if isinstance(exact, tuple) else (exact,)
    assert_no_worse_than_torch(
        run(name, backend, *arguments), run(name, "reference", *arguments), truths
    )


def assert_keeps_formats(name: str, backend: str, arguments: Arguments) -> None:
    """A bracket's v has the strides of x, its cotangent the dtype and strides of raw."""
    raw, x = arguments[:2]
    for which in ("reference", backend):
        v, cotangent = run(name, which, *arguments)
        assert (v.dtype, v.stride()) == (x.dtype, torch.empty_like(x).stride())
        assert (cotangent.dtype, cotangent.stride()) == (raw.dtype, torch.empty_like(raw).stride())


def replaced(name: str, arguments: Arguments, argument: str, value: object) -> list:
    """The op's arguments with another value for one of them, by its name in the reference."""
    resolve(name, "reference")  # registers the ops
    given = list(arguments)
    given[list(inspect.signature(OPS[name].reference).parameters).index(argument)] = value
    return given


def assert_refused(
    name: str, backend: str, arguments: Arguments, argument: str, wrong: object
) -> None:
    """A wrong argument raises an error that names it, instead of reading what is not there."""
    given = replaced(name, arguments, argument, wrong)
    with pytest.raises((RuntimeError, ValueError), match=rf"\b{argument}\b"):
        run(name, backend, *given)


def assert_refuses_mixed_devices(name: str, backend: str, arguments: Arguments) -> None:
    """Each tensor in turn stays on the other device."""
    call = resolve(name, backend, DEVICES[backend])
    given = on_device(backend, *arguments)
    for place, argument in enumerate(given):
        if isinstance(argument, Tensor):
            mixed = list(given)
            mixed[place] = argument.to("cpu" if argument.is_cuda else "cuda")
            with pytest.raises((RuntimeError, ValueError, NotImplementedError)):
                call(*mixed)


two_devices = pytest.mark.skipif(DEVICE == "cpu", reason="needs a second device")


def opcheck(name: str, backend: str, arguments: Arguments) -> None:
    """Schema, fake outputs, dispatch and compilation of the registered op agree with its runs."""
    op = resolve(name, backend, DEVICES[backend])
    if OPS[name].is_composed(backend):
        pytest.skip("composed of ops that are checked on their own")
    torch.library.opcheck(op, tuple(on_device(backend, *arguments)))
