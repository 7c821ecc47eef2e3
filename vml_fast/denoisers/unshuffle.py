"""A U-Net that works at 1/f of the image resolution, between pixel unshuffle and pixel shuffle."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from vml_fast.errors import InputError


class PixelUnshuffled(nn.Module):
    """PixelUnshuffle(f) -> U-Net -> PixelShuffle(f).

    Folding f x f pixels into channels gives the network f² times fewer positions to compute (Shi et
    al. 2016, arXiv 1609.05158, for the shuffle).

    Args:
        unet: called as ``unet(sample, timestep)`` on ``(B, C f², H/f, W/f)``; returns a tensor of
            that shape, or an object with one as ``.sample`` (a diffusers ``UNet2DModel``).
        factor: f, at least 1; 1 leaves the image as it is.

    Raises:
        InputError: ``factor`` is smaller than 1.
    """

    def __init__(self, unet: nn.Module, factor: int = 2) -> None:
        super().__init__()
        if factor < 1:
            raise InputError(f"factor must be at least 1, got {factor}")
        self.unet = unet
        self.factor = factor

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Run the network on images.

        Args:
            sample: ``(B, C, H, W)``; H and W are multiples of the factor.
            timestep: ``(B,)`` or a scalar, handed to the U-Net as it is.

        Returns:
            ``(B, C, H, W)``.
        """
        folded = pixel_unshuffle(sample, self.factor)
        if sample.is_contiguous(memory_format=torch.channels_last):
            folded = folded.contiguous(memory_format=torch.channels_last)
        output = self.unet(folded, timestep)
        return pixel_shuffle(getattr(output, "sample", output), self.factor)
