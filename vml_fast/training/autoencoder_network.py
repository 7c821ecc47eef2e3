"""The autoencoder of a trained latent prior: a small diffusers `AutoencoderKL`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vml_fast.errors import require


def build_autoencoder(
    size: int, channels: Sequence[int], layers: int, unshuffle: int, latent_channels: int
) -> Any:
    """An `AutoencoderKL` for folded images ``(B, 3 f², size/f, size/f)``, with random weights.

    It has no attention: an image's parts are coded by what lies around them, and the decoder's
    derivative costs little.

    Args:
        size: image side in pixels; see `check_architecture`.
        channels: width at each resolution, from ``size / unshuffle`` down to that of the latents.
        layers: residual blocks per resolution of the encoder (one more in the decoder).
        unshuffle: f, the pixel unshuffle before and after it.
        latent_channels: of the latents.

    Raises:
        MissingExtra: diffusers is not installed.
    """
    levels = len(channels)
    return require("diffusers", "diffusers").AutoencoderKL(
        sample_size=size // unshuffle,
        in_channels=3 * unshuffle**2,
        out_channels=3 * unshuffle**2,
        block_out_channels=tuple(channels),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=layers,
        latent_channels=latent_channels,
        norm_num_groups=16,
        mid_block_add_attention=False,
    )
