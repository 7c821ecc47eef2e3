"""The first pass of a bracket that needs a transform: D, and D - x where the prior term varies."""

from __future__ import annotations

import torch
from torch import Tensor

from vml_fast.ops.backends import register
from vml_fast.ops.coefficients import denoised, unpack


def denoised_stack(raw: Tensor, x: Tensor, coefficients: Tensor, with_prior: bool) -> Tensor:
    """D = c_skip x + c_out F, and p = D - x, planar and stacked for one batched transform.

    Args:
        raw: (B, C, H, W) F, the network's output, any floating dtype and memory format.
        x: (B, C, H, W) state.
        coefficients: (B | 1, 5), see `vml_fast.ops.coefficients`; c_skip and c_out are read.
        with_prior: whether p is wanted too.

    Returns:
        (1, B, C, H, W) holding D, or (2, B, C, H, W) holding D and p; contiguous, in x's dtype.
    """
    image = denoised(raw, x, unpack(coefficients))
    parts = [image, image - x] if with_prior else [image]
    return torch.stack([part.contiguous() for part in parts])


def fake(raw: Tensor, x: Tensor, coefficients: Tensor, with_prior: bool) -> Tensor:
    """The output's shape and strides."""
    return x.new_empty(2 if with_prior else 1, *x.shape)


OP = register("denoised_stack", denoised_stack, fake=fake)
