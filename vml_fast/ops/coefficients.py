"""The packed per-sample scalars that every bracket takes, and what brackets return.

`coefficients` is one `(B, 5)` tensor per noise level (or `(1, 5)` for all samples), in the dtype of
the state, with the columns

    c_skip, c_out      of the denoiser, D = c_skip x + c_out F  (Karras et al. 2022, Eq. 7)
    alpha, beta        of the range of H, with the step size folded in
    beta_null          of its null space, likewise

of the bracket  v = V( alpha (U^T y - s V^T D) + beta V^T (D - x) ).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

COLUMNS = ("c_skip", "c_out", "alpha", "beta", "beta_null")


class Coefficients(NamedTuple):
    """The columns, each `(B, 1, 1, 1)` or `(1, 1, 1, 1)`."""

    c_skip: Tensor
    c_out: Tensor
    alpha: Tensor
    beta: Tensor
    beta_null: Tensor


def unpack(coefficients: Tensor) -> Coefficients:
    """The columns of the packed tensor, shaped to multiply images."""
    return Coefficients(*coefficients.reshape(-1, len(COLUMNS), 1, 1, 1).unbind(1))


def denoised(raw: Tensor, x: Tensor, c: Coefficients) -> Tensor:
    """D = c_skip x + c_out F in the dtype of x."""
    return torch.addcmul(c.c_skip * x, c.c_out, raw.to(x.dtype))


def like(value: Tensor, template: Tensor) -> Tensor:
    """`value` in the dtype and memory format of `template`; no copy where it has them already."""
    value = value.to(template.dtype)
    wanted = torch.empty_like(template, device="meta").stride()
    if value.stride() == wanted:
        return value
    return torch.empty_like(template).copy_(value)


def bracket_outputs(v: Tensor, raw: Tensor, x: Tensor, c: Coefficients) -> tuple[Tensor, Tensor]:
    """v in the memory format of x, and the cotangent c_out v in the dtype and format of `raw`."""
    return like(v, x), like(c.c_out * v, raw)


def fake_bracket(raw: Tensor, x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    """What every bracket returns, without the numbers."""
    return torch.empty_like(x), torch.empty_like(raw)
