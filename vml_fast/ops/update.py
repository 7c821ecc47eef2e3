"""The second kernel of an inner step: the new state and the network's next input, in place."""

from __future__ import annotations

import torch
from torch import Tensor

from vml_fast.ops.backends import register


def update(x: Tensor, v: Tensor, gradient: Tensor, u: Tensor, coefficients: Tensor) -> None:
    """The step x <- x + J^T v with the skip path of the denoiser taken analytically, in place.

        x <- x + c_skip v + c_in g
        u <- cast(c_in x)

    since J = c_skip I + c_out c_in dF/du and g = (dF/du)^T (c_out v).

    Args:
        x: (B, C, H, W) state, overwritten.
        v: (B, C, H, W) the bracket, in the dtype of x.
        gradient: (B, C, H, W) g, the network's vector-Jacobian product, any floating dtype.
        u: (B, C, H, W) the network's input, overwritten; any floating dtype and memory format.
        coefficients: (B | 1, 2) with the columns c_skip, c_in, in the dtype of x.
    """
    c_skip, c_in = coefficients.reshape(-1, 2, 1, 1, 1).unbind(1)
    x.copy_(torch.addcmul(torch.addcmul(x, c_skip, v), c_in, gradient.to(x.dtype)))
    u.copy_(c_in * x)


def fake(x: Tensor, v: Tensor, gradient: Tensor, u: Tensor, coefficients: Tensor) -> None:
    """Nothing is returned: x and u are overwritten."""


OP = register("update", update, fake=fake, image=2)
