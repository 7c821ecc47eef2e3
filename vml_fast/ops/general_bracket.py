"""Any operator: the last pass of a bracket whose operator-space term is already computed."""

from __future__ import annotations

import torch
from torch import Tensor

from vml_fast.ops.backends import register
from vml_fast.ops.coefficients import bracket_outputs, denoised, unpack
from vml_fast.ops.coefficients import fake_bracket as fake


def general_bracket(
    raw: Tensor, x: Tensor, term: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """The bracket from an image-space term of the operator and the pull towards the denoised image.

        D = c_skip x + c_out F
        v = alpha term + beta_null (D - x)

    `term` is H^T (y - H D) for an operator without an SVD, the range part V(...) for one with a
    spectrum, or a whole bracket (then beta_null = 0). `beta` is not read: what varies over the
    range of H belongs into `term`.

    Args:
        raw: (B, C, H, W) F, the network's output, any floating dtype and memory format.
        x: (B, C, H, W) state.
        term: (B, C, H, W), in the dtype of x.
        coefficients: (B | 1, 5), see `vml_fast.ops.coefficients`.

    Returns:
        v in the dtype and memory format of x, and the cotangent c_out v in those of raw.
    """
    c = unpack(coefficients)
    v = torch.addcmul(c.alpha * term, c.beta_null, denoised(raw, x, c) - x)
    return bracket_outputs(v, raw, x, c)


OP = register("general_bracket", general_bracket, fake=fake)
