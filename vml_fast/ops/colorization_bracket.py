"""Colorization: from the network's raw output to the bracket and the network's cotangent."""

from __future__ import annotations

import math

from torch import Tensor

from vml_fast.ops.backends import register
from vml_fast.ops.coefficients import bracket_outputs, denoised, unpack
from vml_fast.ops.coefficients import fake_bracket as fake


def colorization_bracket(
    raw: Tensor, x: Tensor, y: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """The bracket of H = the mean of the C channels, whose singular values are 1/sqrt(C).

    The right singular vector of a pixel is gray, 1/sqrt(C) per channel, so with `mean` the mean
    over the channels,

        D = c_skip x + c_out F,   p = D - x
        v = (alpha / sqrt(C)) (y - mean(D)) + beta mean(p) + beta_null (p - mean(p))

    Args:
        raw: (B, C, H, W) F, the network's output, any floating dtype and memory format.
        x: (B, C, H, W) state.
        y: (B, 1, H, W) measurement, in the dtype of x.
        coefficients: (B | 1, 5), see `vml_fast.ops.coefficients`.

    Returns:
        v in the dtype and memory format of x, and the cotangent c_out v in those of raw.
    """
    c = unpack(coefficients)
    image = denoised(raw, x, c)
    prior = image - x
    gray = prior.mean(1, keepdim=True)
    inside = (c.alpha / math.sqrt(x.shape[1])) * (y - image.mean(1, keepdim=True))
    v = c.beta_null * prior + (inside + (c.beta - c.beta_null) * gray)
    return bracket_outputs(v, raw, x, c)


OP = register("colorization_bracket", colorization_bracket, fake=fake)
