"""The interface of every measurement operator H."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vml_fast.arrays import keeps_array_kind
from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.cg import conjugate_gradient
from vml_fast.operators.norms import power_iteration
from vml_fast.operators.operator_data import OperatorData

if TYPE_CHECKING:
    from vml_fast.operators.composition import Composition

DEFAULT_RTOL = 1e-4
# Relative residual of the normal equations at which conjugate gradients stop, and their cap.
CG_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
CG_ITERATIONS = 500


class LinearOperator(OperatorData):
    """A linear map H from images (B, C, H, W) to measurements (B, *measurement_shape).

    `H(x)` measures, `H.adjoint(y)` applies Hᵀ, `H.pseudo_inverse(y)` applies H⁺; all follow the
    dtype (float32 or float64) and device of their argument and are differentiable by autograd.
    They take arrays of NumPy and CuPy as well as tensors, and return what they were given, without
    copies (`vml_fast.arrays`). `A @ B` measures with B first and A then.

    An operator is its `structure` (hashable: which computation) and its `data` (tensors). Two
    operators of equal structure differ in numbers only: `with_data` makes such an operator,
    `static_copy` and `copy_` write one's numbers into the fixed memory of another.

    Attributes:
        image_shape: (channels, height, width).
        measurement_shape: shape of one measurement; m is its product.
        has_svd: whether the SVD methods work.
        rtol: singular values of at most rtol times the largest count as zero in the
            pseudo-inverse, the rank and the preconditioners, never in H.
        batch_size: number of samples of per-sample data; None where all samples share the data.
    """

    has_svd: bool = False

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        measurement_shape: tuple[int, ...],
        *,
        rtol: float = DEFAULT_RTOL,
        data: Mapping[str, Tensor] | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            image_shape, measurement_shape, rtol=rtol, data=data, batch_size=batch_size
        )

    # --- what a subclass writes -----------------------------------------------------------------

    @abstractmethod
    def _forward(self, x: Tensor, /) -> Tensor:
        """H x, shapes already checked."""

    @abstractmethod
    def _adjoint(self, y: Tensor, /) -> Tensor:
        """Hᵀ y, shapes already checked."""

    def _observed(self, like: Tensor) -> Tensor | None:
        """1 where an entry of y is observed, 0 elsewhere; None where all are."""
        return None

    def _probe(self) -> tuple[torch.device, torch.dtype]:
        """Device and dtype in which the norm is estimated."""
        device = next((tensor.device for tensor in self._data.values()), torch.device("cpu"))
        return device, torch.float64

    # --- applying -------------------------------------------------------------------------------

    def __call__(self, x: Tensor) -> Tensor:
        """Measure, as `forward`."""
        return self.forward(x)

    @keeps_array_kind
    def forward(self, x: Tensor) -> Tensor:
        """Measure: (B, C, H, W) -> (B, *measurement_shape)."""
        return self._forward(self._checked(x, "x", self.image_shape))

    @keeps_array_kind
    def adjoint(self, y: Tensor) -> Tensor:
        """Apply Hᵀ: (B, *measurement_shape) -> (B, C, H, W)."""
        return self._adjoint(self._checked(y, "y", self.measurement_shape))

    @keeps_array_kind
    def pseudo_inverse(self, y: Tensor) -> Tensor:
        """Apply H⁺: the image of least norm among those that fit `y` best.

        By the SVD where there is one, with singular values of at most rtol·s_max left out.
        Otherwise by conjugate gradients on HᵀH x = Hᵀy, per sample: at most 500 iterations, to a
        relative residual of 1e-6 (float32) or 1e-12 (float64); there the early stop, and not rtol,
        damps what is nearly unobserved.
        """
        return self._pseudo_inverse(self._checked(y, "y", self.measurement_shape))

    def _pseudo_inverse(self, y: Tensor, /) -> Tensor:
        return conjugate_gradient(
            lambda x: self._adjoint(self._forward(x)),
            self._adjoint(y),
            tol=CG_TOLERANCE[y.dtype],
            max_iter=CG_ITERATIONS,
        )

    @keeps_array_kind
    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """RMS of H x - y over the observed entries, per sample: (B,)."""
        error = self.forward(x) - self._checked(y, "y", self.measurement_shape)
        observed = self._observed(error)
        if observed is None:
            return error.flatten(1).square().mean(1).sqrt()
        observed = observed.expand_as(error)
        total = (observed * error.square()).flatten(1).sum(1)
        return (total / observed.flatten(1).sum(1)).sqrt()

    def norm(self) -> float:
        """The largest singular value, over all samples where the data are per sample.

        Where there is no SVD: power iteration, lifted by 2 % so as not to lie below it; a spectrum
        whose upper end is very dense can still be underestimated by a few per cent.
        """
        if self._norm is None:
            self._norm = self._compute_norm()
        return self._norm

    def _compute_norm(self) -> float:
        device, dtype = self._probe()
        shape = (self.batch_size or 1, *self.image_shape)
        return power_iteration(self._forward, self._adjoint, shape, dtype=dtype, device=device)

    def __matmul__(self, other: LinearOperator) -> Composition:
        from vml_fast.operators.composition import Composition

        if not isinstance(other, LinearOperator):
            return NotImplemented
        return Composition(self, other)

    # --- checks ---------------------------------------------------------------------------------

    def _checked(self, tensor: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        checks.batch(name, tensor, shape, type(self).__name__)
        if self.batch_size not in (None, 1, tensor.shape[0]):
            raise InputError(
                f"{name} has {tensor.shape[0]} samples; the data of this {type(self).__name__} "
                f"are per sample for {self.batch_size}"
            )
        return tensor

    @property
    def image_size(self) -> int:
        """n, the number of entries of an image."""
        return math.prod(self.image_shape)

    @property
    def measurement_size(self) -> int:
        """m, the number of entries of a measurement."""
        return math.prod(self.measurement_shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.image_shape} -> {self.measurement_shape})"

    # --- the SVD interface, where there is none -------------------------------------------------

    def _without_svd(self, method: str) -> InputError:
        return InputError(
            f"{type(self).__name__} has no SVD, so {method}() is not available; forward, adjoint, "
            f"norm and pseudo_inverse (by conjugate gradients) work, and "
            f"MatrixOperator(matrix, image_shape, rank=...) gives a truncated SVD"
        )

    def singular_values(self, like: Tensor | None = None) -> Tensor:
        """See `SVDOperator.singular_values`."""
        raise self._without_svd("singular_values")

    def vt(self, x: Tensor) -> Tensor:
        """See `SVDOperator.vt`."""
        raise self._without_svd("vt")

    def v(self, z: Tensor) -> Tensor:
        """See `SVDOperator.v`."""
        raise self._without_svd("v")

    def ut(self, y: Tensor) -> Tensor:
        """See `SVDOperator.ut`."""
        raise self._without_svd("ut")

    def u(self, z: Tensor) -> Tensor:
        """See `SVDOperator.u`."""
        raise self._without_svd("u")

    def spectral(self, x: Tensor) -> Tensor:
        """See `SVDOperator.spectral`."""
        raise self._without_svd("spectral")

    def spatial(self, z: Tensor) -> Tensor:
        """See `SVDOperator.spatial`."""
        raise self._without_svd("spatial")

    def spectral_singular_values(self, like: Tensor | None = None) -> Tensor:
        """See `SVDOperator.spectral_singular_values`."""
        raise self._without_svd("spectral_singular_values")

    def spectral_measurement(self, y: Tensor) -> Tensor:
        """See `SVDOperator.spectral_measurement`."""
        raise self._without_svd("spectral_measurement")

    def retained(self, like: Tensor | None = None) -> Tensor:
        """See `SVDOperator.retained`."""
        raise self._without_svd("retained")

    def spectral_retained(self, like: Tensor | None = None) -> Tensor:
        """See `SVDOperator.spectral_retained`."""
        raise self._without_svd("spectral_retained")

    def rank(self) -> int:
        """See `SVDOperator.rank`."""
        raise self._without_svd("rank")

    def dropped_fraction(self) -> float:
        """See `SVDOperator.dropped_fraction`."""
        raise self._without_svd("dropped_fraction")
