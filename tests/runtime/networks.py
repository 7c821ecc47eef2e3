"""Networks of a few operations, as small as a test of the runtime needs them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from vml_fast.denoisers import EDMDenoiser

SHAPE = (1, 8, 8)


class SmallNetwork(nn.Module):
    """A convolution, a GroupNorm, an embedding of the noise level and a label, a convolution."""

    def __init__(self, channels: int, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.GroupNorm(2, width)
        self.level = nn.Linear(1, width)
        self.label = nn.Embedding(4, width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, u: Tensor, c_noise: Tensor, labels: Tensor | None = None) -> Tensor:
        embedding = self.level(c_noise.to(u.dtype)[:, None])
        if labels is not None:
            embedding = embedding + self.label(labels)
        h = silu(self.norm(self.first(u)) + embedding[:, :, None, None])
        return self.last(h)


def small_denoiser(
    shape: tuple[int, int, int] = SHAPE, dtype: torch.dtype = torch.float32
) -> EDMDenoiser:
    """The same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SmallNetwork(shape[0])
    return EDMDenoiser(network.to(dtype), shape)
