"""GroupNorm that waits for its SiLU: fusing the pair in networks whose code is not known here.

A network may write ``silu(norm(x))``, ``silu(norm(x) * (1 + scale) + shift)`` or
``silu(torch.addcmul(shift, norm(x), scale + 1))`` in its own ``forward``, where no module can be
exchanged. So one trial run follows each GroupNorm's output through the operations (`followed`), and
a norm whose every output goes that way and no other becomes a `DeferredNorm`. That returns a
`PendingNorm`, a tensor not computed yet, which takes in scale and shift and is computed by SiLU in
one op; any other operation computes it first, so that a path the trial did not see is right too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from vml_fast.denoisers.fused_norm import FusedNorm

_MULTIPLICATIONS = frozenset(
    {torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__}
)
_ADDITIONS = frozenset({torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__})
_METADATA = frozenset(
    getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_cuda")
) | {Tensor.size, Tensor.dim}


class Affine(NamedTuple):
    """What was multiplied and added to a normalized image so far, each ``(B | 1, C, 1, 1)``."""

    factor: Tensor | None = None
    shift: Tensor | None = None

    def then(self, func: Any, args: tuple[Any, ...], norm: Tensor, x: Tensor) -> Affine | None:
        """This and one more operation on `norm`; None if that is not a scale or shift.

        Args:
            func: what is called.
            args: its positional arguments, `norm` among them.
            norm: the normalized image.
            x: ``(B, C, H, W)``, the input of the norm.
        """
        factor = shift = None
        if func in _MULTIPLICATIONS and len(args) == 2:
            factor = _other(args, norm)
        elif func in _ADDITIONS and len(args) == 2:
            shift = _other(args, norm)
        elif func is torch.addcmul and len(args) == 3 and args[0] is not norm:
            shift, factor = args[0], _other(args[1:], norm)
        added = [t for t in (factor, shift) if t is not None]
        if not added or not all(_is_per_channel(t, norm, x) for t in added):
            return None
        if self.shift is not None or (self.factor is not None and factor is not None):
            return None
        return Affine(self.factor if factor is None else factor, shift)


def _other(pair: tuple[Any, ...], norm: Tensor) -> Any:
    return pair[1] if pair[0] is norm else pair[0]


def _is_per_channel(operand: Any, norm: Tensor, x: Tensor) -> bool:
    """Whether an operand is a scale or shift that does not depend on the image."""
    return (
        isinstance(operand, Tensor)
        and operand is not norm
        and operand.ndim == 4
        and operand.shape[0] in (1, x.shape[0])
        and tuple(operand.shape[1:]) == (x.shape[1], 1, 1)
        and not operand.requires_grad
    )


class DeferredNorm(FusedNorm):
    """A GroupNorm whose output waits for SiLU.

    Args:
        norm: the `GroupNorm` it stands for; its parameters are shared.
        backend: of the fused op.
    """

    def __init__(self, norm: nn.Module, backend: str) -> None:
        super().__init__(norm, backend, activation=False)

    def forward(
        self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """The normalized image, pending; computed at once where a compiler traces (it fuses)."""
        if scale is not None or shift is not None or x.ndim != 4 or torch.compiler.is_compiling():
            return super().forward(x, scale, shift)
        return PendingNorm(self, x, Affine())


class PendingNorm(Tensor):
    """``GroupNorm(x) factor + shift``, not computed yet.

    Args:
        norm: the module.
        x: ``(B, C, H, W)``.
        affine: factor and shift.
    """

    _norm: DeferredNorm
    _x: Tensor
    _affine: Affine
    _value: Tensor | None

    @staticmethod
    def __new__(cls, norm: DeferredNorm, x: Tensor, affine: Affine) -> PendingNorm:
        """A tensor without storage."""
        make: Any = Tensor._make_wrapper_subclass
        pending = make(cls, x.shape, dtype=x.dtype, device=x.device)
        pending._norm, pending._x, pending._affine, pending._value = norm, x, affine, None
        return pending

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Scale, shift and SiLU join the pending image; anything else computes it."""
        kwargs = kwargs or {}
        pending = next(t for t in tree_leaves((args, kwargs)) if isinstance(t, PendingNorm))
        if pending._value is None:
            if func is silu and args[0] is pending:
                return pending._activated(**kwargs)
            if func in _METADATA:
                return func(pending._x, *args[1:], **kwargs)
            affine = None if kwargs else pending._affine.then(func, args, pending, pending._x)
            if affine is not None:
                return PendingNorm(pending._norm, pending._x, affine)
        args, kwargs = tree_map_only(PendingNorm, PendingNorm._computed, (args, kwargs))
        return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        """Never reached from Python code, and computing here would lose the gradient."""
        raise RuntimeError(f"{func} met a GroupNorm's output that is not computed yet")

    def _computed(self) -> Tensor:
        if self._value is None:
            self._value = self._run(active=False)
        return self._value

    def _activated(self, inplace: bool = False) -> Tensor:
        out = self._run(active=True)
        if inplace:
            self._value = out
        return out

    def _run(self, active: bool) -> Tensor:
        x, (factor, shift) = self._x, self._affine
        batch, channels = x.shape[:2]
        scale = None
        if factor is not None:
            scale = factor.to(torch.promote_types(factor.dtype, torch.float32)) - 1
            scale = scale.flatten(1).expand(batch, channels)
        if shift is not None:
            shift = shift.flatten(1).expand(batch, channels)
        return self._norm.run(x, scale, shift, active)


@dataclass
class _Flow:
    """An output of a norm on its way: what it was computed from, and what has joined it."""

    norm: nn.Module
    x: Tensor
    affine: Affine
    version: int
    consumed: bool = False

    def unchanged(self) -> bool:
        """Whether the norm's input still holds what it held then."""
        return self.x._version == self.version


class _Follower(TorchFunctionMode):
    """Sees every operation of a run and sorts the norms by what becomes of their outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.flows: dict[int, _Flow] = {}
        self.kept: list[Tensor] = []  # so that no id is used twice
        self.started: set[nn.Module] = set()
        self.refused: set[nn.Module] = set()

    def start(self, norm: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """A forward hook of each norm."""
        self.started.add(norm)
        if len(args) == 1 and args[0].ndim == 4 and output.shape == args[0].shape:
            self._track(output, _Flow(norm, args[0], Affine(), args[0]._version))
        else:
            self.refused.add(norm)

    def _track(self, tensor: Tensor, flow: _Flow) -> None:
        self.flows[id(tensor)] = flow
        self.kept.append(tensor)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        tracked = [t for t in tree_leaves((args, kwargs)) if id(t) in self.flows]
        output = func(*args, **kwargs)
        if tracked and func not in _METADATA:
            for tensor in tracked:
                self._follow(func, args, kwargs, tensor, output)
        return output

    def _follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensor: Tensor, output: Any
    ) -> None:
        flow = self.flows[id(tensor)]
        first, flow.consumed = not flow.consumed, True
        if first and flow.unchanged() and func is silu and args[0] is tensor:
            if kwargs.get("inplace"):  # from here on the same tensor is another image
                del self.flows[id(tensor)]
            return
        affine = None if kwargs else flow.affine.then(func, args, tensor, flow.x)
        if first and affine is not None:
            self._track(output, _Flow(flow.norm, flow.x, affine, flow.version))
        else:
            self.refused.add(flow.norm)

    def fusible(self) -> set[nn.Module]:
        """The norms that ran and whose outputs all went into SiLU alone."""
        left = {flow.norm for flow in self.flows.values() if not flow.consumed}
        return self.started - self.refused - left


def followed(norms: Iterable[nn.Module], run: Callable[[], Any]) -> set[nn.Module]:
    """The norms whose outputs all go into SiLU, by at most a scale and a shift per channel.

    Args:
        norms: modules that compute GroupNorm.
        run: runs the network once, its input requiring a gradient: a scale that depends on the
            image is no scale-shift.

    Returns:
        A subset of `norms`.
    """
    follower = _Follower()
    with ExitStack() as hooks, torch.enable_grad():
        for norm in norms:
            hooks.enter_context(_removed(norm.register_forward_hook(follower.start)))
        with follower:
            run()
    return follower.fusible()


def _removed(handle: Any) -> Any:
    stack = ExitStack()
    stack.callback(handle.remove)
    return stack
