"""Inpainting: from the network's raw output to the bracket and the network's cotangent."""

from __future__ import annotations

import torch
from torch import Tensor

from vml_fast.ops.backends import register
from vml_fast.ops.coefficients import bracket_outputs, denoised, fake_bracket, unpack


def mask_bracket(
    raw: Tensor, x: Tensor, y: Tensor, mask: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """The bracket of H = diag(mask), whose singular values are 1 (observed) and 0 (hidden).

        D = c_skip x + c_out F
        v = alpha (y - D) + beta (D - x)   where observed
        v = beta_null (D - x)              where hidden, whatever y holds there

    Args:
        raw: (B, C, H, W) F, the network's output, any floating dtype and memory format.
        x: (B, C, H, W) state.
        y: (B, C, H, W) measurement, in the dtype of x.
        mask: (B | 1, C | 1, H, W), non-zero = observed; bool, uint8 or the dtype of x.
        coefficients: (B | 1, 5), see `vml_fast.ops.coefficients`.

    Returns:
        v in the dtype and memory format of x, and the cotangent c_out v in those of raw.
    """
    c = unpack(coefficients)
    image = denoised(raw, x, c)
    prior = image - x
    v = torch.where(mask.bool(), c.alpha * (y - image) + c.beta * prior, c.beta_null * prior)
    return bracket_outputs(v, raw, x, c)


OP = register("mask_bracket", mask_bracket, fake=fake_bracket)
