"""A denoiser's network in the form that is fastest for a forward and a VJP."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vml_fast.denoisers.attention import check_form
from vml_fast.denoisers.base import ScaledDenoiser
from vml_fast.denoisers.checkpointing import add_checkpoints
from vml_fast.denoisers.deferred_norm import DeferredNorm, followed
from vml_fast.denoisers.diffusers_blocks import SelfAttention, fuse_blocks, is_unet
from vml_fast.denoisers.fused_norm import FusedNorm, is_group_norm, is_silu
from vml_fast.denoisers.precision import network_dtype
from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.errors import InputError, one_line
from vml_fast.ops import resolve

_LAYERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
    nn.LayerNorm,
)
"""Layers whose input must have the dtype of their weights."""


@dataclass(frozen=True)
class Acceleration:
    """What `accelerate` did; ``denoiser.acceleration``.

    Attributes:
        dtype: of the network's weights.
        channels_last: whether convolutions work in channels-last order.
        backend: asked for the fused op.
        group_norms: GroupNorms in the network.
        fused: those computed together with their SiLU (and scale-shift).
        attentions: attention blocks rebuilt.
        checkpoints: blocks whose activations are not kept.
    """

    dtype: torch.dtype
    channels_last: bool
    backend: str
    group_norms: int
    fused: int
    attentions: int
    checkpoints: int


def accelerate(
    denoiser: ScaledDenoiser,
    dtype: str = "auto",
    channels_last: bool = True,
    *,
    attention: str = "auto",
    checkpointing: bool = False,
    backend: str = "auto",
    condition: Mapping[str, Any] | None = None,
) -> ScaledDenoiser:
    """The same denoiser with a faster network: frozen, cast once, its memory passes fused.

    In a diffusers ``UNet2DModel`` the residual and attention blocks are rebuilt from their parts.
    In any other network one trial run finds each GroupNorm whose output goes through at most a
    scale-shift into SiLU, and these are computed in one op (see `deferred_norm`). A network without
    any runs as it is, apart from dtype and memory format, and a warning says so.

    In float32 and float64 the results differ from the given denoiser's by rounding (1e-5 relative,
    the VJP too). In bfloat16 D drifts by its precision: for emoji64 by an RMS below .07 c_out up to
    noise level .05 and below .025 c_out above, everywhere less than a tenth of the denoiser's own
    error; the state and the skip path stay in x's precision.
    The VJP reaches the image alone: frozen weights, and a noise level and condition without
    gradients, are what makes it cheap; asking for more runs the op's reference instead.

    Args:
        denoiser: a network's adapter. It stays as it is; weights that need no conversion are
            shared with it, and so follow if it is trained further in place.
        dtype: of the weights, as in `load_denoiser`; "auto": bfloat16 on CUDA and on a CPU with
            AMX or AVX512-BF16, else float32. Parameters that are not weights of a layer (Fourier
            frequencies, normalization gains) and buffers keep their dtype.
        channels_last: store images and convolution weights with the channels last in memory.
        attention: for rebuilt blocks: "auto" (by the measured table), "sdpa" or "matmul".
        checkpointing: keep no activations inside a block, and compute them again in the VJP: less
            memory for one more forward. It works with autograd, not under ``torch.func.vjp``.
        backend: of the fused op: "auto", "reference", "cpp", "triton" or "cuda".
        condition: example keywords of the network, for the trial run of one that needs them.

    Returns:
        A denoiser of the same class, its state dict laid out for the rebuilt blocks, with an
        `Acceleration` as ``.acceleration``.

    Raises:
        InputError: not a network's adapter, one that is accelerated already, or an unknown name.
        BackendUnavailable: a backend asked for by name cannot run; the message says why.
    """
    form = check_form(attention)
    _check(denoiser)
    device = _device(denoiser)
    target = network_dtype(dtype, device)
    resolve("group_norm_silu", backend, device)  # or the reason why not
    fast: Any = _converted(denoiser, target, channels_last)
    network: nn.Module = fast.network
    norms = [m for m in network.modules() if is_group_norm(m)]
    fuse_blocks(network, backend, form)
    rebuilt = [m for m in network.modules() if isinstance(m, FusedNorm)]
    _adapt_inputs(network, target, channels_last)
    deferred = _defer_norms(network, backend, partial(_trial, fast, condition or {}))
    fast.acceleration = Acceleration(
        dtype=target,
        channels_last=channels_last,
        backend=backend,
        group_norms=len(norms),
        fused=sum(norm.activation for norm in rebuilt) + deferred,
        attentions=sum(isinstance(m, SelfAttention) for m in network.modules()),
        checkpoints=add_checkpoints(network) if checkpointing else 0,
    )
    if not fast.acceleration.fused:
        warnings.warn(
            f"nothing was fused in the network {type(network).__name__}: "
            f"of its {len(norms)} GroupNorms none is known to be followed by SiLU",
            stacklevel=2,
        )
    return fast


def _check(denoiser: Any) -> None:
    if not isinstance(denoiser, ScaledDenoiser) or not isinstance(denoiser.network, nn.Module):
        raise InputError(
            "denoiser must be a network's adapter (EDMDenoiser, VPDenoiser) around a torch module, "
            f"got {type(denoiser).__name__}"
        )
    if getattr(denoiser, "acceleration", None) is not None:
        raise InputError("denoiser must not be accelerated already, but it is")


def _device(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def _converted(denoiser: ScaledDenoiser, dtype: torch.dtype, channels_last: bool) -> ScaledDenoiser:
    """A copy of the modules around converted weights; no weight is copied that stays as it is."""
    memo: dict[int, Any] = {}
    for module in denoiser.modules():
        normalization = is_group_norm(module)
        for parameter in module.parameters(recurse=False):
            value = parameter.detach()
            is_weight = value.ndim >= 2 or isinstance(module, _LAYERS)
            if value.is_floating_point() and is_weight and not normalization:
                value = value.to(dtype)
            if value.ndim == 4 and channels_last:
                value = value.to(memory_format=torch.channels_last)
            memo.setdefault(id(parameter), nn.Parameter(value, requires_grad=False))
        for buffer in module.buffers(recurse=False):
            memo.setdefault(id(buffer), buffer)
    return copy.deepcopy(denoiser, memo)


def _adapt_inputs(network: nn.Module, dtype: torch.dtype, channels_last: bool) -> None:
    """Bring images into the memory format once, and a foreign network's layers their dtype."""
    unet = network.unet if isinstance(network, PixelUnshuffled) else network
    if channels_last:
        unet.register_forward_pre_hook(_with_channels_last)
    if is_unet(unet) or dtype in (torch.float32, torch.float64):
        return
    for module in network.modules():
        if isinstance(module, _LAYERS):
            module.register_forward_pre_hook(partial(_with_dtype, dtype))


def _with_channels_last(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    image, *rest = args
    return image.contiguous(memory_format=torch.channels_last), *rest


def _with_dtype(dtype: torch.dtype, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in args
    )


def _defer_norms(network: nn.Module, backend: str, trial: Callable[[], None]) -> int:
    """Fuse the GroupNorms that no rebuilt block has taken in, as far as a trial run allows.

    Returns:
        How many are computed with their SiLU.
    """
    _replace(network, is_silu, lambda _: nn.SiLU())
    left = [m for m in network.modules() if is_group_norm(m)]
    if not left:
        return 0
    fusible: set[nn.Module] = set()
    try:
        fusible = followed(left, trial)
    except Exception as error:  # any of the network's own
        warnings.warn(
            f"the network {type(network).__name__} could not be tried for what can be fused, "
            f"give its keywords as condition={{...}}: {one_line(error)}",
            stacklevel=3,
        )
    _replace(network, fusible.__contains__, lambda norm: DeferredNorm(norm, backend))
    _replace(network, is_group_norm, lambda norm: FusedNorm(norm, backend, activation=False))
    return len(fusible)


def _trial(denoiser: ScaledDenoiser, condition: Mapping[str, Any]) -> None:
    """The network once, at noise level 1, with the batch of the condition, else 1."""
    sizes = [len(v) for v in condition.values() if isinstance(v, Tensor) and v.ndim]
    device = _device(denoiser)
    u = torch.zeros(
        sizes[0] if sizes else 1,
        *denoiser.image_shape,
        dtype=denoiser.network_dtype,
        device=device,
        requires_grad=True,
    )
    sigma = torch.ones(len(u), device=device)
    denoiser.raw(u, denoiser.scalings(sigma).noise, **condition)


def _replace(
    network: nn.Module,
    chosen: Callable[[nn.Module], bool],
    make: Callable[[nn.Module], nn.Module],
) -> None:
    """Exchange modules inside a network; one that is used in two places is exchanged in both."""
    made: dict[nn.Module, nn.Module] = {}
    for module in list(network.modules()):
        for name, child in list(module._modules.items()):
            if child is not None and chosen(child):
                if child not in made:
                    made[child] = make(child)
                setattr(module, name, made[child])
