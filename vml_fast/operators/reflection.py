"""A Householder reflection: an orthonormal basis whose first vector is the constant one."""

from __future__ import annotations

import math

from torch import Tensor


def reflect(blocks: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Exchange the constant unit vector and the first unit vector of each block.

    With c the entries of a block, q = (1, …, 1)/√c and e = (1, 0, …, 0), this is
    P = I - 2 w wᵀ/(wᵀw) with w = e - q: symmetric, orthogonal, P q = e and P e = q. It costs one
    sum and one addition, where a DCT would need a product with a c × c matrix.

    Args:
        blocks: any tensor; `dims` span a block.
        dims: negative dimensions.

    Returns:
        A new tensor of the same shape; entry 0 of a block is its sum divided by √c.
    """
    count = math.prod(blocks.shape[dim] for dim in dims)
    if count == 1:
        return blocks.clone()
    first = blocks
    for dim in dims:
        first = first.narrow(dim, 0, 1)
    total = blocks.sum(dims, keepdim=True) / math.sqrt(count)
    shift = (first - total) / (1 - 1 / math.sqrt(count))
    out = blocks + shift / math.sqrt(count)
    target = out
    for dim in dims:
        target = target.narrow(dim, 0, 1)
    target -= shift
    return out
