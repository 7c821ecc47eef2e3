"""Tiny U-Nets in the styles that the field uses, with weights that no part can hide behind."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, silu

from vml_fast.denoisers import ScaledDenoiser


def randomized(network: nn.Module, seed: int = 1) -> nn.Module:
    """The network with affine parameters and biases away from 1 and 0."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data = parameter.data + 0.3 * noise
    return network.eval()


def diffusers_unet(**config: Any) -> nn.Module:
    """A `UNet2DModel` of two levels."""
    from diffusers import UNet2DModel

    return randomized(
        UNet2DModel(
            **{
                "sample_size": 8,
                "in_channels": 3,
                "out_channels": 3,
                "block_out_channels": (8, 16),
                "norm_num_groups": 4,
                "layers_per_block": 1,
                "attention_head_dim": 4,
                "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
                "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            }
            | config
        )
    )


def embedding(t: Tensor, size: int) -> Tensor:
    """Sines and cosines of the noise level."""
    phases = t[:, None].float() * torch.exp(-torch.arange(size // 2, device=t.device) / 2.0)
    return torch.cat([phases.sin(), phases.cos()], dim=1)


class Float32GroupNorm(nn.GroupNorm):
    """GroupNorm that computes in float32, as networks with half-precision trunks have it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).type(x.dtype)


class Swish(nn.Module):
    """SiLU written out."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class GuidedBlock(nn.Module):
    """A residual block of sequences, its scale-shift between the parts of one of them."""

    def __init__(self, channels: int, out: int, width: int, film: bool) -> None:
        super().__init__()
        self.film = film
        self.before = nn.Sequential(
            Float32GroupNorm(4, channels), Swish(), nn.Conv2d(channels, out, 3, padding=1)
        )
        self.embed = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * out if film else out))
        self.after = nn.Sequential(
            Float32GroupNorm(4, out), Swish(), nn.Dropout(0.1), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip = nn.Conv2d(channels, out, 1) if out != channels else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.before(x)
        e = self.embed(emb).type(h.dtype)
        while len(e.shape) < len(h.shape):
            e = e[..., None]
        if self.film:
            norm, rest = self.after[0], self.after[1:]
            scale, shift = torch.chunk(e, 2, dim=1)
            h = rest(norm(h) * (1 + scale) + shift)
        else:
            h = self.after(h + e)
        return self.skip(x) + h


class GuidedAttention(nn.Module):
    """Attention over pixels; its norm is followed by no SiLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Float32GroupNorm(4, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(*x.shape[:2], -1)
        q, k, v = self.qkv(self.norm(flat)).chunk(3, dim=1)
        weight = torch.einsum("bct,bcs->bts", q, k).mul(q.shape[1] ** -0.5).softmax(-1)
        return (flat + self.out(torch.einsum("bts,bcs->bct", weight, v))).reshape(x.shape)


class GuidedUNet(nn.Module):
    """Guided-diffusion style: learned variance, classes, sequences of norm, SiLU, convolution."""

    PAIRS = 5
    NORMS = 6

    def __init__(self, film: bool = True, classes: int = 0) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 16))
        self.classes = nn.Embedding(classes, 16) if classes else None
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.down = GuidedBlock(8, 8, 16, film)
        self.attention = GuidedAttention(8)
        self.up = GuidedBlock(16, 8, 16, film)
        self.out = nn.Sequential(Float32GroupNorm(4, 8), Swish(), nn.Conv2d(8, 6, 3, padding=1))

    def forward(self, x: Tensor, timesteps: Tensor, y: Tensor | None = None) -> Tensor:
        emb = self.embed(embedding(timesteps, 8))
        if self.classes is not None:
            assert y is not None, "classes are needed"
            emb = emb + self.classes(y)
        stem = self.stem(x)
        h = self.attention(self.down(stem, emb))
        return self.out(self.up(torch.cat([h, stem], dim=1), emb).type(x.dtype))


class OwnGroupNorm(nn.Module):
    """GroupNorm that is no `nn.GroupNorm`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_groups, self.eps = 4, 1e-5
        self.weight, self.bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return group_norm(x, 4, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class EDMBlock(nn.Module):
    """A residual block with functional SiLU, in-place additions and addcmul."""

    def __init__(self, channels: int, out: int, width: int, adaptive: bool) -> None:
        super().__init__()
        self.adaptive = adaptive
        self.norm0, self.norm1 = OwnGroupNorm(channels), OwnGroupNorm(out)
        self.conv0 = nn.Conv2d(channels, out, 3, padding=1)
        self.conv1 = nn.Conv2d(out, out, 3, padding=1)
        self.affine = nn.Linear(width, 2 * out if adaptive else out)
        self.skip = nn.Conv2d(channels, out, 1)
        self.norm2, self.qkv = OwnGroupNorm(out), nn.Conv2d(out, 3 * out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        given = x
        x = self.conv0(silu(self.norm0(x)))
        e = self.affine(emb).unsqueeze(2).unsqueeze(3).to(x.dtype)
        if self.adaptive:
            scale, shift = e.chunk(2, dim=1)
            x = silu(torch.addcmul(shift, self.norm1(x), scale + 1))
        else:
            x = silu(self.norm1(x.add_(e)))
        x = self.conv1(x).add_(self.skip(given)) * 0.5**0.5
        q, k, v = self.qkv(self.norm2(x)).flatten(2).chunk(3, dim=1)
        weight = torch.einsum("bct,bcs->bts", q, k / q.shape[1] ** 0.5).softmax(-1)
        return torch.einsum("bts,bcs->bct", weight, v).reshape(x.shape).add_(x)


class EDMUNet(nn.Module):
    """EDM style, with Fourier features that no precision below float32 can hold."""

    PAIRS = 5
    NORMS = 7

    def __init__(self, adaptive: bool = True) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(10 * torch.randn(4), requires_grad=False)
        self.map = nn.Linear(8, 16)
        self.enc = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList([EDMBlock(8, 12, 16, adaptive), EDMBlock(12, 8, 16, adaptive)])
        self.out_norm, self.out_conv = OwnGroupNorm(8), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        phases = 2 * torch.pi * noise[:, None].float() * self.frequencies
        emb = silu(self.map(torch.cat([phases.sin(), phases.cos()], dim=1)))
        x = self.enc(x)
        for block in self.blocks:
            x = block(x, emb)
        return self.out_conv(silu(self.out_norm(x)))


def noisy(denoiser: ScaledDenoiser, batch: int, seed: int = 2) -> tuple[Tensor, Tensor]:
    """x and noise levels from .05 to 20."""
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.logspace(-1.3, 1.3, batch) if batch > 1 else torch.tensor([0.7])
    x = torch.randn(batch, *denoiser.image_shape, generator=generator)
    return x * (1 + sigma.reshape(-1, 1, 1, 1)), sigma


def forward_and_vjp(
    denoiser: ScaledDenoiser, x: Tensor, sigma: Tensor, **condition: Any
) -> tuple[Tensor, Tensor]:
    """D(x; sigma) and the gradient of <D, random>."""
    x = x.clone().requires_grad_(True)
    output = denoiser(x, sigma, **condition)
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    return output.detach(), torch.autograd.grad(output, x, cotangent.to(output))[0]
