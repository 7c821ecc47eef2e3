"""The random numbers of a run: seeds and sample indices, checked once."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from vml_fast.arrays import Array, as_tensor
from vml_fast.errors import InputError
from vml_fast.ops.philox import normal


class Noise:
    """Gaussian noise of a run, keyed by (seed, sample index), whatever the batch or shard.

    Args:
        seed: an int for all samples, or (B,) integers.
        sample_index: (B,) integers, by default 0 ... B-1; a slice of a run keeps its own.
        shape: (B, C, H, W) of the noise.
        like: a tensor with the dtype and device of the noise.

    Raises:
        InputError: `seed` or `sample_index` is no whole number, or not B of them.
    """

    def __init__(
        self,
        seed: int | Sequence[int] | Array,
        sample_index: Sequence[int] | Array | None,
        shape: tuple[int, ...],
        like: Tensor,
    ) -> None:
        self.shape = shape
        self.dtype = like.dtype
        self.seed = _per_sample("seed", seed, shape[0], like.device)
        index = torch.arange(shape[0]) if sample_index is None else sample_index
        self.sample = _per_sample("sample_index", index, shape[0], like.device)

    def part(self, rows: slice) -> Noise:
        """The noise of some samples of the run: what they get in the whole."""
        part = copy.copy(self)
        part.seed, part.sample = self.seed[rows], self.sample[rows]
        part.shape = (len(part.seed), *self.shape[1:])
        return part

    def draw(self, index: int) -> Tensor:
        """Standard normals (B, C, H, W); the same index gives the same numbers."""
        return normal(self.shape, seed=self.seed, sample=self.sample, draw=index, dtype=self.dtype)


def _per_sample(
    name: str, values: int | Sequence[int] | Array, batch: int, device: torch.device
) -> Tensor:
    allowed = f"it must be a whole number or {batch} of them"
    tensor = as_tensor(values, name, allowed=f"a whole number or {batch} of them")
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise InputError(f"{name} is {values!r}; {allowed}.")
    if tensor.ndim > 0 and tuple(tensor.shape) != (batch,):
        raise InputError(f"{name} has shape {tuple(tensor.shape)}; {allowed}.")
    return tensor.to(device, torch.int64).expand(batch)
