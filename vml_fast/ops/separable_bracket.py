"""Separable blur and bicubic super-resolution: the bracket around small matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.ops.backends import OPS, register
from vml_fast.ops.coefficients import fake_bracket as fake
from vml_fast.ops.denoised_stack import OP as DENOISED_STACK
from vml_fast.ops.general_bracket import OP as GENERAL_BRACKET
from vml_fast.ops.spectral_filter import OP as SPECTRAL_FILTER

PARTS = (DENOISED_STACK, SPECTRAL_FILTER, GENERAL_BRACKET)


def make(part: Callable[[str], Callable[..., Any]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The bracket from the ops in `PARTS` of a backend."""
    stack, spectral_filter, finish = (part(op.name) for op in PARTS)

    def separable_bracket(
        raw: Tensor,
        x: Tensor,
        target: Tensor,
        s: Tensor,
        alpha: Tensor,
        beta: Tensor | None,
        rows_v: Tensor,
        columns_v: Tensor,
        coefficients: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The bracket of Y = R X C^T per channel, R = U_r S_r V_r^T and C = U_c S_c V_c^T.

            D = c_skip x + c_out F,   p = D - x
            t = alpha (target - s (V_r^T D V_c)) + beta (V_r^T p V_c)
            v = scale V_r t V_c^T + beta_null p

        V_r and V_c may leave out the vectors of the null space: h < H, w < W make the products
        cheaper, as for super-resolution.

        Args:
            raw: (B, C, H, W) F, the network's output, any floating dtype and memory format.
            x: (B, C, H, W) state.
            target: (B, C, h, w) U^T y = U_r^T y U_c, in the dtype of x.
            s: (B | 1, C | 1, h, w) singular values, the outer product of the two spectra.
            alpha: broadcast against s; 0 where a singular value counts as zero.
            beta: likewise: what the prior weight of the range has over beta_null; None where that
                is nothing, which saves the transform of p.
            rows_v: (H, h) V_r, in the dtype of x.
            columns_v: (W, w) V_c.
            coefficients: (B | 1, 5), see `vml_fast.ops.coefficients`; the column alpha is the
                common `scale`, the column beta is not read.

        Returns:
            v in the dtype and memory format of x, and the cotangent c_out v in those of raw.
        """
        planes = stack(raw, x, coefficients, beta is not None)
        _check_vectors(rows_v, "rows_v", x.shape[2], x)
        _check_vectors(columns_v, "columns_v", x.shape[3], x)
        z = _sandwich(rows_v.T, planes, columns_v)
        t = spectral_filter(z, target, s, alpha, beta)
        return finish(raw, x, _sandwich(rows_v, t, columns_v.T), coefficients)

    return separable_bracket


def _check_vectors(matrix: Tensor, name: str, length: int, x: Tensor) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != length or matrix.dtype != x.dtype:
        raise InputError(
            f"{name} is {matrix.dtype} of shape {tuple(matrix.shape)}; "
            f"it must be {x.dtype}, a matrix of {length} rows."
        )


def _sandwich(left: Tensor, planes: Tensor, right: Tensor) -> Tensor:
    """left X right for every plane; the right product is one large GEMM."""
    return torch.matmul(left, planes @ right)


separable_bracket = make(lambda name: OPS[name].reference)
OP = register("separable_bracket", separable_bracket, fake=fake, build=make, native=("cpp",))
