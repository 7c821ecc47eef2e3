"""Random operands, drawn once, and the bandwidth of a plain copy."""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.machine import DEVICE, cache_bytes
from benchmarks.timing import seconds_of

ALIGNMENT = 64
"""Operands begin at multiples of this many elements, as those of an allocator do."""


def rotated_bytes(tiny: bool) -> int:
    """How much memory the operands of successive calls cover: twice the last-level cache."""
    return 2**16 if tiny else 2 * cache_bytes()


class RandomData:
    """Hands out operands as slices of one block of normal random numbers.

    Drawing fresh numbers for hundreds of operands would take longer than timing an op on them.
    Zeros or constants would flatter the memory system.

    Args:
        covered: how many bytes of operands are in use at the same time.
    """

    def __init__(self, covered: int) -> None:
        self.covered = covered
        self.blocks: dict[torch.dtype, Tensor] = {}
        self.cursor: dict[torch.dtype, int] = {}

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Contiguous standard normals; slices follow each other through the block."""
        count = math.prod(shape)
        block = self._block(dtype, count)
        start = self.cursor[dtype]
        if start + count > len(block):
            start = 0
        self.cursor[dtype] = start + -(-count // ALIGNMENT) * ALIGNMENT
        return block[start : start + count].view(shape)

    def image(self, case: Case, dtype: torch.dtype = torch.float32, channels: int = 3) -> Tensor:
        """(B, C, H, W) in the memory format of the case."""
        return self.images((case.batch, channels, case.size, case.size), case, dtype)

    def images(
        self, shape: tuple[int, ...], case: Case, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Any (B, C, h, w) in the memory format of the case."""
        b, c, h, w = shape
        if case.memory_format == "channels_last":
            return self.normal((b, h, w, c), dtype).permute(0, 3, 1, 2)
        return self.normal(shape, dtype)

    def network(self, case: Case) -> Tensor:
        """An image of the network's dtype: its output, or its input gradient."""
        return self.image(case, case.network_dtype)

    def _block(self, dtype: torch.dtype, count: int) -> Tensor:
        """A block with room for a whole set of operands, the largest of which has `count`."""
        needed = max(self.covered // dtype.itemsize, 8 * count) + ALIGNMENT
        block = self.blocks.get(dtype)
        if block is None or len(block) < 8 * count:
            drawn = torch.randn(min(needed, 2**22), device=DEVICE).to(dtype)
            block = drawn.repeat(-(-needed // len(drawn)))[:needed]
            self.blocks[dtype], self.cursor[dtype] = block, 0
        return block


def coefficients(batch: int, columns: int = 5, *, prior: bool = True) -> Tensor:
    """Per-sample scalars of a noise level, small enough that repeated steps stay bounded.

    Args:
        batch: number of images.
        columns: of the table.
        prior: False sets the last one, beta_null, to 0, as it is by default without noise.
    """
    table = 0.2 + 0.6 * torch.rand(batch, columns, device=DEVICE)
    return table if prior else table * (torch.arange(columns, device=DEVICE) != columns - 1)


class CopyBandwidth:
    """Bytes per second, read plus written, of torch's copy between blocks that no cache holds."""

    def __init__(self, covered: int) -> None:
        # on a GPU large enough for the launch to vanish in the time of the copy
        elements = max(covered, 2**32 if DEVICE == "cuda" and covered > 2**20 else 0) // 4
        self.source = torch.rand(elements, device=DEVICE)
        self.target = torch.zeros_like(self.source)
        self.samples = [self.sample() for _ in range(9)][1:]

    def sample(self) -> float:
        """One copy, timed."""
        seconds = seconds_of(lambda: self.target.copy_(self.source))
        return 2 * self.source.numel() * self.source.element_size() / seconds

    @property
    def median(self) -> float:
        """Of the samples at the beginning of the run."""
        return statistics.median(self.samples)
