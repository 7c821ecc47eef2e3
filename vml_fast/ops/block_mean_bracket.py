"""Block-mean super-resolution: from the network's raw output to the bracket and the cotangent."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from vml_fast.ops.backends import register
from vml_fast.ops.coefficients import bracket_outputs, denoised, unpack
from vml_fast.ops.coefficients import fake_bracket as fake


def block_mean_bracket(
    raw: Tensor, x: Tensor, y: Tensor, factor: int, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """The bracket of H = the mean of factor x factor blocks, whose singular values are 1/factor.

    The right singular vectors of the range are constant on one block, 1/factor per pixel, so with
    `mean` the mean over a block,

        D = c_skip x + c_out F,   p = D - x
        v = (alpha / factor) (y - mean(D)) + beta mean(p) + beta_null (p - mean(p))

    Args:
        raw: (B, C, H, W) F, the network's output, any floating dtype and memory format.
        x: (B, C, H, W) state; factor divides H and W.
        y: (B, C, H / factor, W / factor) measurement, in the dtype of x.
        factor: side of a block, at least 1.
        coefficients: (B | 1, 5), see `vml_fast.ops.coefficients`.

    Returns:
        v in the dtype and memory format of x, and the cotangent c_out v in those of raw.
    """
    c = unpack(coefficients)
    image = denoised(raw, x, c)
    prior = image - x
    block_prior = avg_pool2d(prior, factor)
    inside = (c.alpha / factor) * (y - avg_pool2d(image, factor))
    inside = inside + (c.beta - c.beta_null) * block_prior
    v = c.beta_null * prior + interpolate(inside, scale_factor=factor, mode="nearest")
    return bracket_outputs(v, raw, x, c)


OP = register("block_mean_bracket", block_mean_bracket, fake=fake)
