"""The network of a trained prior: a diffusers U-Net behind a pixel unshuffle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.errors import InputError, require


def check_architecture(
    size: int, channels: Sequence[int], layers: int, attention: Sequence[int] | None, unshuffle: int
) -> None:
    """Check that `build_network` can make a network of these sizes.

    Raises:
        InputError: it cannot; the message names the argument.
    """
    if not channels or any(width < 16 or width % 16 for width in channels):
        raise InputError(f"channels must be positive multiples of 16, got {list(channels)}")
    if layers < 1:
        raise InputError(f"layers must be at least 1, got {layers}")
    if unshuffle < 1:
        raise InputError(f"unshuffle must be at least 1, got {unshuffle}")
    multiple = unshuffle * 2 ** (len(channels) - 1)
    if size < multiple or size % multiple:
        raise InputError(
            f"size must be a positive multiple of {multiple} (unshuffle {unshuffle}, "
            f"{len(channels)} resolutions), got {size}"
        )
    resolutions = [size // unshuffle // 2**level for level in range(len(channels))]
    if attention is not None and not set(attention) <= set(resolutions):
        raise InputError(f"attention must be among {resolutions}, got {list(attention)}")


def build_network(
    size: int,
    channels: Sequence[int],
    layers: int,
    attention: Sequence[int] | None,
    unshuffle: int,
    image_channels: int = 3,
) -> PixelUnshuffled:
    """Build F for ``(B, image_channels, size, size)`` images, with random weights.

    Args:
        size: image side in pixels, a multiple of ``unshuffle * 2**(len(channels) - 1)``.
        channels: width at each resolution, from ``size / unshuffle`` down; multiples of 16.
        layers: residual blocks per resolution on the way down (one more on the way up).
        attention: feature-map sides with self-attention; ``None``: the lowest one. The middle
            block always has it.
        unshuffle: f of the pixel unshuffle.
        image_channels: of the images; of the latents for a latent prior.

    Raises:
        InputError: the sizes do not fit.
        MissingExtra: diffusers is not installed.
    """
    check_architecture(size, channels, layers, attention, unshuffle)
    side = size // unshuffle
    sides = [side // 2**level for level in range(len(channels))]
    attends = [each in (sides[-1:] if attention is None else attention) for each in sides]
    widths = [width for width, has in zip(channels, attends, strict=True) if has] + [channels[-1]]
    unet = require("diffusers", "diffusers").UNet2DModel(
        sample_size=side,
        in_channels=image_channels * unshuffle**2,
        out_channels=image_channels * unshuffle**2,
        block_out_channels=tuple(channels),
        layers_per_block=layers,
        down_block_types=tuple("AttnDownBlock2D" if has else "DownBlock2D" for has in attends),
        up_block_types=tuple("AttnUpBlock2D" if has else "UpBlock2D" for has in attends[::-1]),
        norm_num_groups=16,
        attention_head_dim=next(d for d in (48, 32, 16) if all(w % d == 0 for w in widths)),
    )
    return PixelUnshuffled(unet, unshuffle)


def architecture(network: PixelUnshuffled, size: int) -> dict[str, Any]:
    """What `build_network` would be given for a network, read off its configuration.

    Args:
        network: F.
        size: image side in pixels.

    Returns:
        ``channels``, ``layers``, ``attention`` and ``unshuffle``.
    """
    unet: Any = network.unet
    channels, kinds = unet.config.block_out_channels, unet.config.down_block_types
    sides = [size // network.factor // 2**level for level in range(len(channels))]
    return {
        "channels": tuple(channels),
        "layers": unet.config.layers_per_block,
        "attention": tuple(s for s, k in zip(sides, kinds, strict=True) if "Attn" in k),
        "unshuffle": network.factor,
    }
