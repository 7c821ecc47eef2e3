"""Networks of the sizes that the field uses; random weights where the real ones are not at hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from vml_fast.denoisers import EDMDenoiser, ScaledDenoiser, load_denoiser

Build = Callable[[], nn.Module]


class Sized(NamedTuple):
    """A network of the field.

    Attributes:
        name: as in tables.
        image_shape: (C, H, W), of the latent for a latent model.
        parameters: of the published network, in millions.
        config: of a diffusers `UNet2DModel`; None for the embedded prior.
        on_cpu: whether a CPU benchmark takes it.
    """

    name: str
    image_shape: tuple[int, int, int]
    parameters: float
    config: dict[str, Any] | None
    on_cpu: bool = False

    def build(self, device: str | torch.device = "cpu") -> ScaledDenoiser:
        """The denoiser, in float32; random weights are the same in every run."""
        if self.config is None:
            return load_denoiser(self.name, device=device)
        with torch.device(device):
            torch.manual_seed(0)
            network = unet(self.config)
        return EDMDenoiser(network, self.image_shape)


def unet(config: dict[str, Any]) -> nn.Module:
    """A diffusers U-Net."""
    from diffusers import UNet2DModel

    return UNet2DModel(**config)


def millions(network: nn.Module) -> float:
    """Parameters, in millions."""
    return sum(math.prod(p.shape) for p in network.parameters()) / 1e6


def _guided(
    side: int, channels: int, layers: int, multipliers: tuple[int, ...], attention: set[int]
) -> dict[str, Any]:
    """The U-Net of Dhariwal & Nichol (2021): residual resampling, scale-shift, heads of 64."""
    sides = [side >> level for level in range(len(multipliers))]
    inner = ["Attn" if s in attention else "Resnet" for s in sides]
    down = ["AttnDownBlock2D" if kind == "Attn" else "ResnetDownsampleBlock2D" for kind in inner]
    up = ["AttnUpBlock2D" if kind == "Attn" else "ResnetUpsampleBlock2D" for kind in inner]
    return {
        "sample_size": side,
        "in_channels": 3,
        "out_channels": 6,  # the second half is a learned variance, which is dropped
        "layers_per_block": layers,
        "block_out_channels": tuple(channels * m for m in multipliers),
        "down_block_types": tuple(down),
        "up_block_types": tuple(reversed(up)),
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "attention_head_dim": 64,
        "attn_norm_num_groups": 32,
        "resnet_time_scale_shift": "scale_shift",
    }


EDM64 = {
    # SongUNet "ddpmpp" of EDM's FFHQ 64² (Karras et al. 2022): 128 channels, four blocks a level
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 4,
    "block_out_channels": (128, 256, 256, 256),
    "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    "attention_head_dim": 256,
}
LDM = {
    # the U-Net of LDM-4 (Rombach et al. 2022) on 3 × 64 × 64 latents of 256² images
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 2,
    "block_out_channels": (224, 448, 672, 896),
    "down_block_types": ("DownBlock2D", *["AttnDownBlock2D"] * 3),
    "up_block_types": (*["AttnUpBlock2D"] * 3, "UpBlock2D"),
    "attention_head_dim": 32,
}

NETWORKS = {
    found.name: found
    for found in (
        Sized("emoji64", (3, 64, 64), 4.1, None, on_cpu=True),
        Sized("edm64", (3, 64, 64), 61.8, EDM64),
        Sized("dps-ffhq256", (3, 256, 256), 93.6, _guided(256, 128, 1, (1, 1, 2, 2, 4, 4), {16})),
        Sized(
            "adm256", (3, 256, 256), 552.8, _guided(256, 256, 2, (1, 1, 2, 2, 4, 4), {32, 16, 8})
        ),
        Sized("ldm64", (3, 64, 64), 274.1, LDM),
    )
}
