"""Walsh-Hadamard sensing: the bracket around one fast transform of D and one back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vml_fast.ops.backends import OPS, register
from vml_fast.ops.coefficients import fake_bracket as fake
from vml_fast.ops.denoised_stack import OP as DENOISED_STACK
from vml_fast.ops.fwht import OP as FWHT
from vml_fast.ops.general_bracket import OP as GENERAL_BRACKET
from vml_fast.ops.spectral_filter import OP as SPECTRAL_FILTER

PARTS = (DENOISED_STACK, SPECTRAL_FILTER, GENERAL_BRACKET, FWHT)


def make(part: Callable[[str], Callable[..., Any]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The bracket from the ops in `PARTS` of a backend."""
    stack, spectral_filter, finish, fwht = (part(op.name) for op in PARTS)

    def transform(planes: Tensor) -> Tensor:
        return fwht(planes.flatten(-2)).view(planes.shape)

    def walsh_hadamard_bracket(
        raw: Tensor,
        x: Tensor,
        target: Tensor,
        s: Tensor,
        alpha: Tensor,
        beta: Tensor | None,
        coefficients: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The bracket of a selection of Walsh-Hadamard coefficients (s = 1 selected, 0 not).

        With W the orthonormal transform of each channel (see `fwht`), W = W^T = W^-1 and

            D = c_skip x + c_out F,   p = D - x
            v = scale W( alpha (target - s W D) + beta W p [where s = 1] ) + beta_null p

        Args:
            raw: (B, C, H, W) F, the network's output, any floating dtype and memory format.
            x: (B, C, H, W) state; H and W are powers of two.
            target: (B, C, H, W) the measured coefficients in their places, zeros elsewhere.
            s: (B | 1, C | 1, H, W) 1 or 0, in the dtype of x.
            alpha: broadcast against s, for example (B, 1, 1, 1).
            beta: likewise: what the prior weight of the range has over beta_null; None where that
                is nothing, which saves the transform of p.
            coefficients: (B | 1, 5), see `vml_fast.ops.coefficients`; the column alpha is the
                common `scale`, the column beta is not read.

        Returns:
            v in the dtype and memory format of x, and the cotangent c_out v in those of raw.
        """
        z = transform(stack(raw, x, coefficients, beta is not None))
        t = spectral_filter(z, target, s, alpha, beta)
        return finish(raw, x, transform(t), coefficients)

    return walsh_hadamard_bracket


walsh_hadamard_bracket = make(lambda name: OPS[name].reference)
OP = register(
    "walsh_hadamard_bracket", walsh_hadamard_bracket, fake=fake, build=make, native=("cpp",)
)
