"""Operators whose whole bracket is one op: from the network's raw output to v and the cotangent.

Each family below says which op serves an operator, and with which tensors. alpha and beta are those
of `vml_fast.preconditioners`; what a family's op cannot vary over the range is folded into the
packed coefficients (see `vml_fast.ops.coefficients`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from vml_fast.operators import (
    BicubicSuperResolution,
    CircularBlur,
    Colorization,
    Denoising,
    Inpainting,
    SeparableBlur,
    SuperResolution,
    WalshHadamard,
)
from vml_fast.operators.base import SVDOperator
from vml_fast.ops import resolve
from vml_fast.runtime.bracket import Bracket, general_bracket
from vml_fast.runtime.problem import Level, Problem

PROBES = torch.tensor([1.0, 2.0], dtype=torch.float64)
"""Two noise levels: the coefficients are rational in sigma_t, so what is 0 at both is 0 at all."""


class FusedBracket(Bracket):
    """A bracket that is one op."""

    op: ClassVar[str]

    def __init__(self, problem: Problem) -> None:
        y = problem.y
        self.run: Callable[..., tuple[Tensor, Tensor]] = resolve(
            self.op, problem.backend, y.device, y.dtype
        )
        super().__init__(problem)

    def load(self, problem: Problem) -> None:
        """Take the operator."""
        super().load(problem)
        assert isinstance(problem.operator, SVDOperator)
        self.operator: Any = problem.operator

    def set_level(self, level: Level) -> None:
        """Write the op's arguments at a noise level."""
        super().set_level(level)
        self.arguments = [
            self.memory.write(f"argument {i}", value) if isinstance(value, Tensor) else value
            for i, value in enumerate(self.at_level())
        ]

    def __call__(self, output: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """v and its cotangent, in one pass."""
        return self.run(output, x, *self.arguments)

    @abstractmethod
    def at_level(self) -> tuple[Any, ...]:
        """The op's arguments after F and x."""


class UniformBracket(FusedBracket):
    """All non-zero singular values are one number, so alpha and beta are scalars per sample."""

    @property
    @abstractmethod
    def singular_value(self) -> float:
        """The one non-zero singular value of H."""

    def scalars(self) -> Tensor:
        """The packed coefficients, (B, 5)."""
        s = torch.tensor([[self.singular_value, 0.0]], dtype=torch.float64)
        s = s.to(self.noise_std.device)
        alpha, beta = self.coefficients(s, s > 0, s.amax(1))
        return self.packed(alpha[:, 0], beta[:, 0], beta[:, 1])


class MaskBracket(UniformBracket):
    """Inpainting, and denoising as inpainting with nothing hidden."""

    op = "mask_bracket"
    singular_value = 1.0

    def at_level(self) -> tuple[Any, ...]:
        """y, mask and the packed coefficients."""
        mask = self.operator.data.get("mask")
        if mask is None:
            mask = torch.ones(1, 1, *self.y.shape[-2:])
        mask = mask if mask.ndim == 4 else mask[None]
        return self.y, mask.to(self.y.device, torch.bool).contiguous(), self.scalars()


class BlockMeanBracket(UniformBracket):
    """Super-resolution by block means: every singular value is 1 / factor."""

    op = "block_mean_bracket"

    @property
    def singular_value(self) -> float:
        """1 / factor."""
        return 1.0 / self.operator.factor

    def at_level(self) -> tuple[Any, ...]:
        """y, factor and the packed coefficients."""
        return self.y, self.operator.factor, self.scalars()


class ColorizationBracket(UniformBracket):
    """The mean of C channels: every singular value is 1 / sqrt(C)."""

    op = "colorization_bracket"

    @property
    def singular_value(self) -> float:
        """1 / sqrt(C)."""
        return 1.0 / math.sqrt(self.operator.image_shape[0])

    def at_level(self) -> tuple[Any, ...]:
        """y and the packed coefficients."""
        return self.y, self.scalars()


class FilterBracket(FusedBracket):
    """A transform, a filter over its coordinates, and the transform back."""

    def load(self, problem: Problem) -> None:
        """Take the measurement in the coordinates of U, and the singular values."""
        super().load(problem)
        self.target = self.measured()
        values = self.operator.spectral_singular_values().to(self.y.device)
        self.s = self.layout(values)
        self.kept = self.layout(self.operator.spectral_retained().to(self.y.device))
        self.norm = self.s.flatten(1).amax(1)
        self.has_excess = any(bool((self.excess(t) != 0).any()) for t in PROBES)

    def excess(self, sigma_t: Tensor) -> Tensor:
        """What beta has above its value on the null space, in the layout of s."""
        coefficients = self.problem.coefficients
        beta = coefficients(self.s, self.kept, self.norm, sigma_t).beta
        zero = self.s.new_zeros(1, 1)
        null = coefficients(zero, zero > 0, self.norm, sigma_t).beta
        return beta - null.reshape(-1, 1, 1, 1)

    def measured(self) -> Tensor:
        """U^T y in the op's layout."""
        return self.operator.spectral_measurement(self.y)

    def layout(self, values: Tensor) -> Tensor:
        """Singular values in the op's layout, (B | 1, C | 1, h, w)."""
        return values if values.ndim == 4 else values[None]

    def tail(self) -> tuple[Tensor, ...]:
        """Further arguments of the op, before the packed coefficients."""
        return ()

    def at_level(self) -> tuple[Any, ...]:
        """target, s, alpha, beta (None where it saves a transform), and the packed coefficients."""
        alpha, beta = self.coefficients(self.s, self.kept, self.norm)
        zero = self.s.new_zeros(1, 1)
        null = self.coefficients(zero, zero > 0, self.norm).beta.reshape(-1)
        dtype = self.y.dtype
        one = torch.ones_like(null)
        return (
            self.target,
            self.s.to(dtype),
            alpha.to(dtype),
            (beta - null.reshape(-1, 1, 1, 1)).to(dtype) if self.has_excess else None,
            *self.tail(),
            self.packed(one, 0 * one, null),
        )


class SpectralBracket(FilterBracket):
    """Circular blur, in the half spectrum of rfft2."""

    op = "spectral_bracket"

    def measured(self) -> Tensor:
        """U^T y as complex numbers."""
        return torch.view_as_complex(super().measured().contiguous())

    def layout(self, values: Tensor) -> Tensor:
        """Without the axis of real and imaginary parts."""
        return super().layout(values[..., 0])


class SeparableBracket(FilterBracket):
    """Separable blur and bicubic super-resolution, by small matrix products."""

    op = "separable_bracket"

    def measured(self) -> Tensor:
        """U^T y in the corner that holds the non-zero singular values."""
        return self.layout(super().measured()).contiguous()

    def layout(self, values: Tensor) -> Tensor:
        """The top left corner of the spectral layout."""
        _, rows, columns = self.operator.measurement_shape
        return super().layout(values)[..., :rows, :columns]

    def tail(self) -> tuple[Tensor, ...]:
        """V_r and V_c, without the vectors of the null space."""
        return self.operator.right_factors(self.y)


class WalshHadamardBracket(FilterBracket):
    """A selection of Walsh-Hadamard coefficients, by the fast transform."""

    op = "walsh_hadamard_bracket"


FAMILIES: dict[type, type[FusedBracket]] = {
    BicubicSuperResolution: SeparableBracket,
    CircularBlur: SpectralBracket,
    Colorization: ColorizationBracket,
    Denoising: MaskBracket,
    Inpainting: MaskBracket,
    SeparableBlur: SeparableBracket,
    SuperResolution: BlockMeanBracket,
    WalshHadamard: WalshHadamardBracket,
}
"""Operator class to the bracket that computes it in one op; others take the general way."""


def make_bracket(problem: Problem) -> Bracket:
    """The fastest bracket for an operator."""
    family = FAMILIES.get(type(problem.operator))
    return general_bracket(problem) if family is None else family(problem)
