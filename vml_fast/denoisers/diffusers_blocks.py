"""The blocks of diffusers' U-Nets, rebuilt from their parts around fused operations.

Blocks are recognized by their exact class, since what a subclass computes is not known here.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from vml_fast.denoisers.attention import Form, attend
from vml_fast.denoisers.fused_norm import FusedNorm


class ResnetBlock(nn.Module):
    """A `ResnetBlock2D` with both GroupNorm + SiLU fused (the second with its scale-shift).

    The additions work in place on the convolutions' outputs, which no derivative needs.

    Args:
        block: the diffusers block; its parameters are shared.
        backend: of the fused op.
    """

    def __init__(self, block: nn.Module, backend: str) -> None:
        super().__init__()
        source: Any = block
        self.norm1 = FusedNorm(source.norm1, backend, activation=True)
        self.norm2 = FusedNorm(source.norm2, backend, activation=True)
        self.conv1, self.conv2 = source.conv1, source.conv2
        self.time_emb_proj = source.time_emb_proj
        self.conv_shortcut = source.conv_shortcut
        self.resample = source.upsample if source.upsample is not None else source.downsample
        self.scale_shift = source.time_embedding_norm == "scale_shift"
        self.skip_time_act = bool(source.skip_time_act)
        self.output_scale_factor = float(source.output_scale_factor)

    def forward(self, input_tensor: Tensor, temb: Tensor) -> Tensor:
        """``(B, C, H, W)`` and the time embedding ``(B, E)`` to ``(B, C', H', W')``."""
        x, h = input_tensor, self.norm1(input_tensor)
        if self.resample is not None:
            x, h = self.resample(x), self.resample(h)
        embedding = self.time_emb_proj(temb if self.skip_time_act else silu(temb))
        h = self.conv1(h)
        if self.scale_shift:
            h = self.norm2(h, *embedding.chunk(2, dim=1))
        else:
            h = self.norm2(h.add_(embedding[:, :, None, None]))
        h = self.conv2(h).add_(x if self.conv_shortcut is None else self.conv_shortcut(x))
        return h if self.output_scale_factor == 1 else h.div_(self.output_scale_factor)


class SelfAttention(nn.Module):
    """A residual self-attention `Attention` over pixels: one product for q, k and v, no transposes.

    Args:
        attention: the diffusers block.
        backend: of the fused op.
        form: "auto", "sdpa" or "matmul".
    """

    def __init__(self, attention: nn.Module, backend: str, form: Form) -> None:
        super().__init__()
        source: Any = attention
        self.heads = int(source.heads)
        self.form = form
        self.rescale_output_factor = float(source.rescale_output_factor)
        self.norm = None
        if source.group_norm is not None:
            self.norm = FusedNorm(source.group_norm, backend, activation=False)
        projections = (source.to_q, source.to_k, source.to_v)
        self.weight = _stacked([p.weight for p in projections])
        self.bias = None
        if source.to_q.bias is not None:
            self.bias = _stacked([p.bias for p in projections])
        self.to_out = source.to_out[0]

    def forward(self, hidden_states: Tensor, temb: Tensor | None = None) -> Tensor:
        """``(B, C, H, W)`` to the same; the time embedding is not used."""
        x = hidden_states
        h = x if self.norm is None else self.norm(x)
        pixels = h.flatten(2).transpose(1, 2)
        qkv = linear(pixels, self.weight, self.bias).unflatten(-1, (3, self.heads, -1))
        q, k, v = (t.transpose(1, 2) for t in qkv.unbind(2))
        out = self.to_out(attend(q, k, v, self.form).transpose(1, 2).flatten(2))
        out = out.transpose(1, 2).unflatten(2, x.shape[2:]) + x
        return out if self.rescale_output_factor == 1 else out / self.rescale_output_factor


def fuse_blocks(network: nn.Module, backend: str, form: Form) -> None:
    """Replace every block of diffusers in `network` that a block of this module stands for."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if _is_resnet_block(child):
                setattr(module, name, ResnetBlock(child, backend))
            elif _is_self_attention(child):
                setattr(module, name, SelfAttention(child, backend, form))
        if is_unet(module):
            _fuse_tail(module, backend)


def _fuse_tail(unet: Any, backend: str) -> None:
    if _is_plain(unet.conv_norm_out) and _is_plain(unet.conv_act):
        unet.conv_norm_out = FusedNorm(unet.conv_norm_out, backend, activation=True)
        unet.conv_act = nn.Identity()


def is_unet(module: nn.Module) -> bool:
    """Whether a module is a diffusers `UNet2DModel`."""
    return _is_a(module, "diffusers.models.unets.unet_2d", "UNet2DModel")


def _is_a(module: object, home: str, name: str) -> bool:
    """Exactly of a class of diffusers; a network made of it has imported it."""
    return home in sys.modules and type(module) is getattr(sys.modules[home], name, None)


def _is_resnet_block(module: nn.Module) -> bool:
    if not _is_a(module, "diffusers.models.resnet", "ResnetBlock2D") or not _is_plain(module):
        return False
    block: Any = module
    return isinstance(block.nonlinearity, nn.SiLU) and block.time_emb_proj is not None


def _is_self_attention(module: nn.Module) -> bool:
    home = "diffusers.models.attention_processor"
    if not _is_a(module, home, "Attention") or not _is_plain(module):
        return False
    attention: Any = module
    known = any(
        _is_a(attention.processor, home, name) for name in ("AttnProcessor", "AttnProcessor2_0")
    )
    absent = ("spatial_norm", "norm_q", "norm_k", "norm_cross", "added_kv_proj_dim")
    return (
        known
        and all(getattr(attention, name, None) is None for name in absent)
        and attention._from_deprecated_attn_block  # over pixels, not over tokens
        and attention.residual_connection
        and attention.scale_qk
        and not attention.is_cross_attention
        and not attention.upcast_attention
        and attention.to_out is not None
        and attention.to_q.weight.shape == attention.to_k.weight.shape
    )


def _is_plain(module: nn.Module) -> bool:
    """Without hooks, which a rebuilt block would lose."""
    return not any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
        for m in module.modules()
    )


def _stacked(parts: list[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.cat([part.detach() for part in parts]), requires_grad=False)
