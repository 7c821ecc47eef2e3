"""The interface of every measurement operator H."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.cg import conjugate_gradient
from vml_fast.operators.norms import power_iteration

if TYPE_CHECKING:
    from vml_fast.operators.composition import Composition

DEFAULT_RTOL = 1e-4
# Relative residual of the normal equations at which conjugate gradients stop, and their cap.
CG_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
CG_ITERATIONS = 500
_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


class LinearOperator(ABC):
    """A linear map H from images (B, C, H, W) to measurements (B, *measurement_shape).

    `H(x)` measures, `H.adjoint(y)` applies Hᵀ, `H.pseudo_inverse(y)` applies H⁺; all follow the
    dtype (float32 or float64) and device of their argument and are differentiable by autograd.
    `A @ B` measures with B first and A then.

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
        self.image_shape = checks.image_shape(image_shape)
        self.measurement_shape = tuple(measurement_shape)
        self.rtol = checks.tolerance(rtol)
        self.batch_size = batch_size
        self._data: dict[str, Tensor] = dict(data or {})
        self._derived: dict[str, Tensor] = {}
        self._casts: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}
        self._norm: float | None = None
        self._static = False

    # --- what a subclass writes -----------------------------------------------------------------

    @abstractmethod
    def _forward(self, x: Tensor, /) -> Tensor:
        """H x, shapes already checked."""

    @abstractmethod
    def _adjoint(self, y: Tensor, /) -> Tensor:
        """Hᵀ y, shapes already checked."""

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """The constructor's keywords that would make this operator again."""

    def _variant(self) -> tuple[Hashable, ...]:
        """What else, beside shapes and rtol, decides which computation this is."""
        return ()

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

    def forward(self, x: Tensor) -> Tensor:
        """Measure: (B, C, H, W) -> (B, *measurement_shape)."""
        return self._forward(self._checked(x, "x", self.image_shape))

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply Hᵀ: (B, *measurement_shape) -> (B, C, H, W)."""
        return self._adjoint(self._checked(y, "y", self.measurement_shape))

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

    # --- structure and data ---------------------------------------------------------------------

    @property
    def structure(self) -> Hashable:
        """Equal for two operators if and only if they are the same computation on other tensors."""
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in self._data.items())
        return (
            type(self).__name__,
            self.image_shape,
            self.measurement_shape,
            self.rtol,
            *self._variant(),
            shapes,
        )

    @property
    def data(self) -> Mapping[str, Tensor]:
        """The tensors that define this operator, as given (or float64 where made here)."""
        return MappingProxyType(self._data)

    def with_data(self, **tensors: Any) -> Self:
        """The same structure with other tensors, named as in the constructor (mask, kernel, …).

        Raises:
            InputError: an unknown name, a value that the constructor rejects, or a structure that
                would change (another shape).
        """
        arguments = self._arguments()
        for name in tensors:
            if name not in self._replaceable():
                allowed = ", ".join(self._replaceable()) or "none"
                raise InputError(
                    f"{type(self).__name__} has no data named {name!r}; has: {allowed}"
                )
        other = type(self)(**{**arguments, **tensors})
        if other.structure != self.structure:
            raise InputError(
                f"the new data change the structure from {self.structure} to {other.structure}; "
                f"allowed: tensors of the same shapes"
            )
        return other

    def _replaceable(self) -> tuple[str, ...]:
        return tuple(self._data)

    def select(self, index: slice | Tensor) -> Self:
        """This operator for a part of the batch: per-sample data are indexed, shared data kept."""
        if self.batch_size is None or self.batch_size == 1:
            return self
        part = {name: tensor[index] for name, tensor in self._data.items()}
        return type(self)(**{**self._arguments(), **part})

    def static_copy(self) -> Self:
        """A copy whose computations read memory that stays in place, for `copy_` to write into.

        Tensors are allocated at their first use in a dtype on a device; from then on a captured
        loop that reads them sees whatever `copy_` writes.
        """
        twin = copy.copy(self)
        twin._data, twin._derived, twin._casts = dict(self._data), dict(self._derived), {}
        twin._static = True
        return twin

    def copy_(self, other: LinearOperator) -> Self:
        """Write the numbers of `other` into this static copy.

        Raises:
            InputError: this operator is no `static_copy`, or the structures differ.
        """
        self._check_copy(other)
        self._data, self._derived = dict(other._data), dict(other._derived)
        self._norm = other._norm
        for (name, _, dtype), cast in self._casts.items():
            cast.copy_(_convert(self._master(name), cast.device, dtype))
        return self

    def _check_copy(self, other: LinearOperator) -> None:
        if not self._static:
            raise InputError("copy_ was called on an operator that is no static_copy()")
        if other.structure != self.structure:
            raise InputError(
                f"operator has structure {other.structure}; allowed: {self.structure}, as captured"
            )

    def _master(self, name: str) -> Tensor:
        """A tensor of `data`, or one computed from it, once, by `_derive`."""
        if name in self._data:
            return self._data[name]
        if name not in self._derived:
            with torch.inference_mode(False), torch.no_grad():
                self._derived[name] = self._derive(name)
        return self._derived[name]

    def _derive(self, name: str) -> Tensor:
        tensor: Tensor = getattr(self, f"_derive_{name}")()
        return tensor

    def _tensor(self, name: str, like: Tensor | None) -> Tensor:
        """Master `name` in the dtype and on the device of `like`, cached; the master for None."""
        master = self._master(name)
        if like is None:
            return master
        key = (name, like.device, like.dtype)
        if key not in self._casts:
            # Outside inference mode, or autograd could never use the cached tensor again.
            with torch.inference_mode(False), torch.no_grad():
                cast = _convert(master, like.device, like.dtype)
                self._casts[key] = cast.clone() if self._static else cast
        return self._casts[key]

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


def _convert(master: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`master` on `device`; real numbers in `dtype`, complex ones in its complex partner."""
    if master.is_complex():
        return master.to(device, _COMPLEX[dtype])
    if master.is_floating_point():
        return master.to(device, dtype)
    return master.to(device)
