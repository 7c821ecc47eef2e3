"""GroupNorm, scale-shift and SiLU as one module over the `group_norm_silu` op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.functional import group_norm

from vml_fast.ops import resolve
from vml_fast.ops.backends import check_backend
from vml_fast.ops.group_norm_silu import group_norm_silu_forward


class FusedNorm(nn.Module):
    """``silu( GroupNorm(x) (1 + scale) + shift )`` in one op.

    The op passes a gradient to x alone. Where more is asked for (a gradient of scale, shift or the
    weights, forward mode) its reference runs, which is differentiable in everything.

    Args:
        norm: the `GroupNorm` it stands for; its parameters are shared.
        backend: of the op; "auto" or a name.
        activation: False leaves out SiLU.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: nn.Module, backend: str, *, activation: bool) -> None:
        super().__init__()
        source: Any = norm
        self.num_groups = int(source.num_groups)
        self.eps = float(source.eps)
        self.activation = activation
        if source.weight is None:
            self.register_buffer("weight", torch.ones(source.num_channels), persistent=False)
        else:
            self.weight = source.weight
        if source.bias is None:
            self.register_buffer("bias", torch.zeros(len(self.weight)), persistent=False)
        else:
            self.bias = source.bias
        self.backend = check_backend(backend)
        self._ops: dict[str, Callable[..., Tensor]] = {}
        self._op(self.weight)

    def forward(
        self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """Normalize.

        Args:
            x: ``(B, C, ...)``.
            scale: ``(B, C)`` or None for 0.
            shift: ``(B, C)`` or None for 0.

        Returns:
            Of x's shape, dtype and memory format.
        """
        return self.run(x, scale, shift, self.activation)

    def run(self, x: Tensor, scale: Tensor | None, shift: Tensor | None, active: bool) -> Tensor:
        """`forward` with or without SiLU."""
        image = x if x.ndim == 4 else x.reshape(*x.shape[:2], 1, -1)
        arguments = (self.num_groups, self.weight, self.bias, self.eps, scale, shift, active)
        if _asks_for_more(image, (self.weight, self.bias, scale, shift)):
            out = group_norm_silu_forward(image, *arguments)[0]
        else:
            out = self._op(image)(image, *arguments)
        return out if x.ndim == 4 else out.reshape(x.shape)

    def _op(self, x: Tensor) -> Callable[..., Tensor]:
        """The op on the device of x."""
        kind = x.device.type
        if kind not in self._ops:
            self._ops[kind] = resolve("group_norm_silu", self.backend, x.device)
        return self._ops[kind]


def _asks_for_more(x: Tensor, others: tuple[Tensor | None, ...]) -> bool:
    """Whether a derivative is wanted that the op does not have."""
    if any(other is not None and other.requires_grad for other in others):
        return True
    return not torch.compiler.is_compiling() and in_forward_mode(x)


def in_forward_mode(x: Tensor) -> bool:
    """Whether x carries a tangent (``torch.func.jvp``)."""
    return forward_ad.unpack_dual(x).tangent is not None


def is_group_norm(module: nn.Module) -> bool:
    """Whether a module computes what ``nn.GroupNorm`` does: subclasses and look-alikes are tried.

    Args:
        module: any; one that is not an `nn.GroupNorm` must have ``num_groups``, ``eps``,
            ``weight`` and ``bias``, as that of NVIDIA's EDM code.

    Returns:
        False for a `FusedNorm` too.
    """
    if type(module) is nn.GroupNorm:
        return True
    named: Any = module
    if isinstance(module, FusedNorm) or not all(
        hasattr(module, name) for name in ("num_groups", "eps", "weight", "bias")
    ):
        return False
    if not isinstance(named.weight, Tensor) or named.weight.ndim != 1 or list(module.children()):
        return False
    weight, bias = named.weight.detach(), named.bias
    probe = torch.linspace(-1, 3, 12 * len(weight), device=weight.device).sin().add(0.5)
    probe = probe.reshape(2, len(weight), 2, 3).to(weight.dtype)
    expected = group_norm(probe, named.num_groups, weight, bias, named.eps)
    return _computes(module, probe, expected)


def is_silu(module: nn.Module) -> bool:
    """Whether a module is a SiLU of its own making, as that of the guided-diffusion code."""
    name, stateless = type(module).__name__, next(module.parameters(), None) is None
    if type(module) is nn.SiLU or name not in ("SiLU", "Swish") or not stateless:
        return False
    probe = torch.linspace(-8, 8, 24).reshape(2, 2, 2, 3)
    return _computes(module, probe, nn.functional.silu(probe))


def _computes(module: nn.Module, probe: Tensor, expected: Tensor) -> bool:
    try:
        with torch.no_grad():
            output = module(probe)
    except Exception:  # whatever it is, it is no stand-in
        return False
    if not isinstance(output, Tensor) or output.shape != expected.shape:
        return False
    return bool(torch.allclose(output.to(expected.dtype), expected, rtol=1e-4, atol=1e-5))
