"""Circular blur: the bracket around one FFT of D (two with a varying prior term) and one back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vml_fast.ops.backends import OPS, register
from vml_fast.ops.coefficients import fake_bracket as fake
from vml_fast.ops.denoised_stack import OP as DENOISED_STACK
from vml_fast.ops.general_bracket import OP as GENERAL_BRACKET
from vml_fast.ops.spectral_filter import OP as SPECTRAL_FILTER

PARTS = (DENOISED_STACK, SPECTRAL_FILTER, GENERAL_BRACKET)


def make(part: Callable[[str], Callable[..., Any]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The bracket from the ops in `PARTS` of a backend."""
    stack, spectral_filter, finish = (part(op.name) for op in PARTS)

    def spectral_bracket(
        raw: Tensor,
        x: Tensor,
        target: Tensor,
        s: Tensor,
        alpha: Tensor,
        beta: Tensor | None,
        coefficients: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The bracket of a circular convolution, H = F^-1 diag(k) F with k = s exp(i phi).

        In the orthonormal half spectrum of `torch.fft.rfft2(..., norm="ortho")`, U^T y is
        exp(-i phi) rfft2(y), constant during a solve, and

            D = c_skip x + c_out F,   p = D - x
            v = scale irfft2( alpha (target - s rfft2(D)) + beta rfft2(p) ) + beta_null p

        Args:
            raw: (B, C, H, W) F, the network's output, any floating dtype and memory format.
            x: (B, C, H, W) state.
            target: (B, C, H, W // 2 + 1) complex, U^T y.
            s: (B | 1, C | 1, H, W // 2 + 1) singular values |k|.
            alpha: real, broadcast against s; 0 where a singular value counts as zero.
            beta: real, likewise: what the prior weight of the range has over beta_null; None where
                that is nothing, which saves the transform of p.
            coefficients: (B | 1, 5), see `vml_fast.ops.coefficients`; the column alpha is the
                common `scale`, the column beta is not read.

        Returns:
            v in the dtype and memory format of x, and the cotangent c_out v in those of raw.
        """
        if x.shape[0] == 0:  # torch's FFT refuses empty batches
            return finish(raw, x, torch.empty_like(x), coefficients)
        spectrum = torch.fft.rfft2(stack(raw, x, coefficients, beta is not None), norm="ortho")
        filtered = spectral_filter(spectrum, target, s, alpha, beta)
        term = torch.fft.irfft2(filtered, s=x.shape[-2:], norm="ortho")
        return finish(raw, x, term, coefficients)

    return spectral_bracket


spectral_bracket = make(lambda name: OPS[name].reference)
OP = register("spectral_bracket", spectral_bracket, fake=fake, build=make, native=("cpp",))
