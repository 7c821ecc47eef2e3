"""Products with the Jacobian of the network: the inner step's only derivative.

J is symmetric for an exact denoiser (J = Cov[x0 | x_t] / sigma_t^2), so J v may stand in for J^T v:
forward mode keeps no activations, and a finite difference needs no derivative at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import group_norm
from torch.overrides import TorchFunctionMode

from vml_fast.autograd import math_attention, pullback
from vml_fast.denoisers.base import per_image
from vml_fast.errors import InputError

Jacobian = Literal["vjp", "jvp", "finite_difference"]
JACOBIANS: tuple[Jacobian, ...] = ("vjp", "jvp", "finite_difference")
"""`vjp` is exact; the two others hold as far as the denoiser's Jacobian is symmetric."""

DIFFERENCE = 1e-2
"""Length of a finite difference relative to sigma_t sqrt(n)."""
LEAST_DIFFERENCE = 5e-4
"""The least length relative to sqrt(n): at small sigma_t images bend no faster."""
LEAST_COARSE_DIFFERENCE = 5e-2
"""The same for networks of 16 bits, whose rounding a shorter difference would drown in.

Error of J v against the VJP of the float32 network (emoji64, two images, 4x super-resolution), at
lengths of 1, 10 and 40 times the one for float32: at sigma_t = .5 .84, .35, .39 (float32: .34); at
.2 1.80, .36, .31 (.30); at .05 3.94, .62, .25 (.20); at .01 .82, .13, .05 (.04)."""

Function = Callable[[Tensor], Tensor]


def difference_length(sigma: float, elements: int, dtype: torch.dtype | None) -> float:
    """How far a finite difference goes from an image of `elements` entries, in units of x.

    Args:
        sigma: the noise level.
        elements: C H W.
        dtype: of the network.
    """
    coarse = dtype in (torch.bfloat16, torch.float16)
    least = LEAST_COARSE_DIFFERENCE if coarse else LEAST_DIFFERENCE
    return max(DIFFERENCE * sigma, least) * elements**0.5


class ElementaryGroupNorm(TorchFunctionMode):
    """GroupNorm written out: PyTorch's forward-mode formula of it fails on strided tangents."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        norm = _group_norm if func is group_norm else func
        return norm(*args, **(kwargs or {}))


def _group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    flat = x.reshape(len(x), num_groups, -1)
    centered = flat - flat.mean(-1, keepdim=True)
    variance = centered.square().mean(-1, keepdim=True)
    normal = (centered * (variance + eps).rsqrt()).reshape(x.shape)
    channels = (1, -1, *(1,) * (x.ndim - 2))
    scaled = normal if weight is None else normal * weight.reshape(channels)
    return scaled if bias is None else scaled + bias.reshape(channels)


def check_jacobian(name: str) -> str:
    """The name itself, or one sentence on which names exist."""
    if name not in JACOBIANS:
        raise InputError(f"jacobian is {name!r}; it must be one of {', '.join(JACOBIANS)}.")
    return name


def vjp(network: Function, u: Tensor) -> tuple[Tensor, Function]:
    """F(u) and the function c -> (dF/du)^T c, by reverse mode."""
    leaf = u.detach().requires_grad_(True)
    with torch.enable_grad():
        output = network(leaf)

    return output.detach(), lambda cotangent: pullback(output, leaf, cotangent)


def jvp(network: Function, u: Tensor) -> tuple[Tensor, Function]:
    """F(u) and c -> (dF/du) c, by forward mode: one more forward, no activations kept."""
    with torch.no_grad():
        output = network(u)

    def product(tangent: Tensor) -> Tensor:
        # The fused attention kernels have no forward-mode derivative; the plain form has.
        with math_attention, ElementaryGroupNorm():
            return torch.func.jvp(network, (u,), (tangent.to(u.dtype),))[1]

    return output, product


def finite_difference(network: Function, u: Tensor, step: Tensor) -> tuple[Tensor, Function]:
    """F(u) and c -> (F(u + h c/|c|) - F(u)) |c| / h per sample: two forwards, no derivative.

    Args:
        network: the map F.
        u: (B, C, H, W) its input.
        step: (B,) h, the length of the displacement in units of u, in the dtype of the result.
    """
    with torch.no_grad():
        output = network(u)

    def product(tangent: Tensor) -> Tensor:
        # in the precision of the step, so that a network of 16 bits rounds its outputs alone
        length = tangent.to(step.dtype).flatten(1).norm(dim=1)
        moves = length > 0
        scale = torch.where(moves, step / length, 0.0)
        with torch.no_grad():
            moved = network((u + per_image(scale, u) * tangent).to(u.dtype))
        change = moved.to(step.dtype) - output.to(step.dtype)
        return change * per_image(torch.where(moves, length / step, 0.0), u)

    return output, product
