"""Which implementation of each op runs: what is available, why not, and which is chosen.

Backends are `reference` (plain PyTorch, any device and dtype), `cpp` (C++, CPU tensors), `triton`
and `cuda` (CUDA tensors; for tests TRITON_INTERPRET=1 makes Triton take CPU tensors).
A solver resolves its ops once, when it is built:

    bracket = resolve("mask_bracket", "auto", x.device, x.dtype)
    v, cotangent = bracket(raw, x, y, mask, coefficients)

An explicit backend that cannot run raises `BackendUnavailable` with the reason. "auto" takes the
fastest available one by the measured table (`vml_fast.ops.fastest`), for a few ops by the dtype,
layout and size of each image; the environment variable VML_FAST_BACKEND stands in for "auto".
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vml_fast.errors import BackendUnavailable, InputError
from vml_fast.ops import fastest, native

BACKENDS = ("reference", "cpp", "triton", "cuda")
NATIVE_DTYPE = torch.float32
"""The compiled and Triton ops keep state and data term in this precision."""

Implementation = Callable[..., Any]


@dataclass(frozen=True)
class Op:
    """One fused operation.

    Attributes:
        name: the op's one name, in all its places.
        reference: the plain-PyTorch specification.
        fake: shapes, dtypes and strides of the outputs, for `torch.compile`; None if composed.
        build: for a composition of ops around torch's GEMMs or FFTs: makes the callable of a
            backend from a function that resolves part names; None for an op with its own kernels.
        native: backends that have a version of their own of a composition, which keeps the work
            of a few samples in the cache.
        home: the file, in every place, that holds the op; usually its own name.
        any_dtype: the native versions take float64 as well.
        image: position of the argument whose dtype, layout and size may decide which backend is
            fastest; None if there is no such argument.
    """

    name: str
    reference: Implementation
    fake: Implementation | None = None
    build: Callable[[Callable[[str], Implementation]], Implementation] | None = None
    native: tuple[str, ...] = ()
    home: str = ""
    any_dtype: bool = False
    image: int | None = 0

    def is_composed(self, backend: str) -> bool:
        """Whether the backend builds the op from others."""
        return self.build is not None and backend not in self.native


OPS: dict[str, Op] = {}


def register(
    name: str,
    reference: Implementation,
    *,
    fake: Implementation | None = None,
    build: Callable[[Callable[[str], Implementation]], Implementation] | None = None,
    native: tuple[str, ...] = (),
    home: str = "",
    any_dtype: bool = False,
    image: int | None = 0,
) -> Op:
    """Enter an op into the registry; each file of `vml_fast/ops/` does this once per op."""
    op = Op(name, reference, fake, build, native, home or name, any_dtype, image)
    OPS[name] = op
    return op


def availability(device: torch.device | str | None = None) -> dict[str, str | None]:
    """Each backend with None if it can run, else the reason why not.

    Args:
        device: where the tensors live; None asks for the device that each backend is made for.

    Returns:
        One entry per name in `BACKENDS`.
    """
    kind = torch.device(device).type if device is not None else None
    return {name: _why_not(name, kind) for name in BACKENDS}


def resolve(
    name: str,
    backend: str = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Implementation:
    """The callable that runs an op on a backend.

    Args:
        name: a key of `OPS`.
        backend: "auto" or one of `BACKENDS`.
        device: where the tensors live.
        dtype: of the state, float32 or float64; the reference alone takes float64.

    Returns:
        A callable with the signature of the op's reference.

    Raises:
        BackendUnavailable: an explicit backend cannot run; the message says why.
        InputError: the backend or the op has another name.
    """
    _register_ops()
    if name not in OPS:
        raise InputError(f"op is {name!r}; it must be one of {', '.join(sorted(OPS))}.")
    op = OPS[name]
    kind = torch.device(device).type
    wish = check_backend(backend)
    if wish != "auto":
        reason = _why_not_op(op, wish, kind, dtype)
        if reason:
            raise BackendUnavailable(f"backend {wish!r} cannot run {name}: {reason}")
        return _implementation(op, wish)
    return _fastest(op, kind, dtype)


def check_backend(backend: str) -> str:
    """The backend asked for, with VML_FAST_BACKEND in place of "auto"."""
    wish = os.environ.get("VML_FAST_BACKEND", "auto") if backend == "auto" else backend
    if wish not in ("auto", *BACKENDS):
        source = "VML_FAST_BACKEND" if backend == "auto" else "backend"
        raise InputError(
            f"{source} is {wish!r}; it must be 'auto' or one of {', '.join(BACKENDS)}."
        )
    return wish


def _fastest(op: Op, kind: str, dtype: torch.dtype) -> Implementation:
    """What runs fastest here by the measured table."""
    names = {
        rule: next((b for b in rule.order if _why_not_op(op, b, kind, dtype) is None), "reference")
        for rule in fastest.rules(op.name, kind)
    }
    made = {name: _implementation(op, name) for name in dict.fromkeys(names.values())}
    if len(made) == 1 or op.image is None:
        return made[list(names.values())[-1]]
    return fastest.by_image([(rule, made[name]) for rule, name in names.items()], op.image)


def _why_not(backend: str, kind: str | None) -> str | None:
    if backend == "reference":
        return None
    if backend == "cpp":
        if kind not in (None, "cpu"):
            return f"it runs on CPU tensors, not on {kind}"
        return native.load_cpu()
    if backend == "triton" and os.environ.get("TRITON_INTERPRET") == "1":
        return _why_not_triton()
    if kind not in (None, "cuda"):
        return f"it runs on CUDA tensors, not on {kind}"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return _why_not_triton() if backend == "triton" else native.load_cuda()


@functools.cache
def _why_not_triton() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    try:
        importlib.import_module("vml_fast.kernels")
    except ImportError as error:
        return f"vml_fast.kernels does not import: {error}"
    return None


def _why_not_op(op: Op, backend: str, kind: str, dtype: torch.dtype) -> str | None:
    reason = _why_not(backend, kind)
    if reason is None and backend != "reference" and dtype != NATIVE_DTYPE and not op.any_dtype:
        return f"the state is {dtype} and only the reference takes anything but {NATIVE_DTYPE}"
    return reason


def _implementation(op: Op, backend: str) -> Implementation:
    if backend == "reference":
        return op.reference
    if op.build is not None and op.is_composed(backend):
        return op.build(lambda part: _implementation(OPS[part], backend))
    if backend == "triton":
        return getattr(importlib.import_module(f"vml_fast.kernels.{op.home}"), op.name)
    _register_fakes()
    return getattr(torch.ops.vml_fast, op.name).default


@functools.cache
def _register_ops() -> None:
    """Import every file of this folder that registers an op."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in ("__init__", "backends"):
            importlib.import_module(f"vml_fast.ops.{path.stem}")


@functools.cache
def _register_fakes() -> None:
    for op in OPS.values():
        if op.fake is not None:
            torch.library.register_fake(f"vml_fast::{op.name}", op.fake)
