"""The interface of operators with a singular value decomposition H = U Σ Vᵀ."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import pad

from vml_fast.arrays import keeps_array_kind
from vml_fast.errors import InputError
from vml_fast.operators.linear_operator import LinearOperator


class SVDOperator(LinearOperator):
    """A linear operator whose singular vectors are applied without being stored.

    Two layouts of the coordinates Vᵀx:

    * **flat**, `(B, n)`: `vt`, `v`, `ut`, `u`, `singular_values`. The non-zero singular values are
      among the first min(m, n) entries, in no promised order.
    * **spectral**, `(B, *spectral_shape)`: `spectral`, `spatial`, `spectral_singular_values`,
      `spectral_measurement`. The operator's natural layout, cheaper than the flat one; Uᵀy lies in
      the same places as Vᵀx. Any filter f that is a function of the singular values (and, where
      they are zero, of nothing else) gives V f(Σ) Vᵀ x = `spatial(f(s) * spectral(x))`.

    Results may share memory with their argument. Singular values are returned raw: rtol is applied
    by `retained`, `spectral_retained`, `rank` and `pseudo_inverse`.

    Attributes:
        spectral_shape: shape of one sample in the spectral layout.
        complete: whether V is a basis of the whole image space. If False, the spectral layout
            holds only the leading part, V Vᵀ is a projection, and what it leaves out of an image d
            is `d - spatial(spectral(d))`.
    """

    has_svd = True
    complete: bool = True
    spectral_shape: tuple[int, ...]

    # --- what a subclass writes -----------------------------------------------------------------

    @abstractmethod
    def _spectral(self, x: Tensor, /) -> Tensor:
        """Vᵀx in the spectral layout."""

    @abstractmethod
    def _spatial(self, z: Tensor, /) -> Tensor:
        """V z from the spectral layout."""

    @abstractmethod
    def _derive_spectral_values(self) -> Tensor:
        """The singular values, float64, broadcastable against `spectral(x)`."""

    def _pack(self, z: Tensor, /) -> Tensor:
        """Spectral layout -> flat layout."""
        return z.flatten(1)

    def _unpack(self, z: Tensor, /) -> Tensor:
        """Flat layout -> spectral layout."""
        return z.unflatten(1, self.spectral_shape)

    def _ut(self, y: Tensor, /) -> Tensor:
        return y.flatten(1)

    def _u(self, z: Tensor, /) -> Tensor:
        return z.unflatten(1, self.measurement_shape)

    def _spectral_measurement(self, y: Tensor, /) -> Tensor:
        return self._unpack(pad(self._ut(y), (0, self.image_size - self.measurement_size)))

    def _derive_singular_values(self) -> Tensor:
        values = self._master("spectral_values")
        if self.batch_size is None:
            return values.expand(self.spectral_shape).flatten()
        return values.expand(self.batch_size, *self.spectral_shape).flatten(1)

    # --- applying -------------------------------------------------------------------------------

    def _forward(self, x: Tensor, /) -> Tensor:
        z = self.singular_values(x) * self._pack(self._spectral(x))
        return self._u(pad(z, (0, self.measurement_size - self.image_size)))

    def _adjoint(self, y: Tensor, /) -> Tensor:
        return self._spatial(self.spectral_singular_values(y) * self._spectral_measurement(y))

    def _pseudo_inverse(self, y: Tensor, /) -> Tensor:
        return self._spatial(self._tensor("reciprocals", y) * self._spectral_measurement(y))

    def _compute_norm(self) -> float:
        return float(self._master("spectral_values").max())

    # --- flat layout ----------------------------------------------------------------------------

    def singular_values(self, like: Tensor | None = None) -> Tensor:
        """All n singular values, zero-padded: (n,), or (B, n) where the data are per sample.

        Args:
            like: a tensor whose dtype and device the result takes; None gives float64 on the
                device of the data.
        """
        self._need_svd("singular_values")
        return self._tensor("singular_values", like)

    @keeps_array_kind
    def vt(self, x: Tensor) -> Tensor:
        """Vᵀx: (B, C, H, W) -> (B, n)."""
        self._need_svd("vt")
        return self._pack(self._spectral(self._checked(x, "x", self.image_shape)))

    @keeps_array_kind
    def v(self, z: Tensor) -> Tensor:
        """V z: (B, n) -> (B, C, H, W)."""
        self._need_svd("v")
        return self._spatial(self._unpack(self._checked(z, "z", (self.image_size,))))

    @keeps_array_kind
    def ut(self, y: Tensor) -> Tensor:
        """Uᵀy: (B, *measurement_shape) -> (B, m)."""
        self._need_svd("ut")
        return self._ut(self._checked(y, "y", self.measurement_shape))

    @keeps_array_kind
    def u(self, z: Tensor) -> Tensor:
        """U z: (B, m) -> (B, *measurement_shape)."""
        self._need_svd("u")
        return self._u(self._checked(z, "z", (self.measurement_size,)))

    def retained(self, like: Tensor | None = None) -> Tensor:
        """True where a singular value exceeds rtol·s_max: (n,) or (B, n), as `singular_values`."""
        self._need_svd("retained")
        return self._tensor("retained", like)

    # --- spectral layout ------------------------------------------------------------------------

    @keeps_array_kind
    def spectral(self, x: Tensor) -> Tensor:
        """Vᵀx: (B, C, H, W) -> (B, *spectral_shape)."""
        self._need_svd("spectral")
        return self._spectral(self._checked(x, "x", self.image_shape))

    @keeps_array_kind
    def spatial(self, z: Tensor) -> Tensor:
        """V z: (B, *spectral_shape) -> (B, C, H, W)."""
        self._need_svd("spatial")
        return self._spatial(self._checked(z, "z", self.spectral_shape))

    def spectral_singular_values(self, like: Tensor | None = None) -> Tensor:
        """The singular values, broadcastable against `spectral(x)`; `like` as above."""
        self._need_svd("spectral_singular_values")
        return self._tensor("spectral_values", like)

    @keeps_array_kind
    def spectral_measurement(self, y: Tensor) -> Tensor:
        """Uᵀy, zero-padded, in the layout of `spectral(x)`."""
        self._need_svd("spectral_measurement")
        return self._spectral_measurement(self._checked(y, "y", self.measurement_shape))

    def spectral_retained(self, like: Tensor | None = None) -> Tensor:
        """True where a singular value exceeds rtol·s_max, as `spectral_singular_values`.

        Decided in float64, per sample where the data are, so the same in every dtype.
        """
        self._need_svd("spectral_retained")
        return self._tensor("spectral_retained", like)

    # --- rank -----------------------------------------------------------------------------------

    def rank(self) -> int:
        """Number of retained singular values; the largest over samples with per-sample data."""
        self._need_svd("rank")
        return int(self._master("retained").sum(-1).max())

    def dropped_fraction(self) -> float:
        """Share of the non-zero singular values that rtol drops, over all samples."""
        self._need_svd("dropped_fraction")
        positive = self._master("singular_values") > 0
        dropped = positive & ~self._master("retained")
        return float(dropped.sum() / positive.sum().clamp_min(1))

    def _derive_retained(self) -> Tensor:
        return self._exceeds("singular_values")

    def _derive_spectral_retained(self) -> Tensor:
        return self._exceeds("spectral_values")

    def _derive_reciprocals(self) -> Tensor:
        values = self._master("spectral_values")
        kept = self._master("spectral_retained")
        return torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)

    def _exceeds(self, name: str) -> Tensor:
        values = self._master(name)
        if self.batch_size is None:
            return values > self.rtol * values.max()
        largest = values.flatten(1).amax(1).reshape(-1, *[1] * (values.ndim - 1))
        return values > self.rtol * largest

    def _need_svd(self, method: str) -> None:
        """Refuse where this instance has no SVD (a sparse matrix without `rank`)."""
        if not self.has_svd:
            raise self._without_svd(method)

    def _incomplete(self, method: str, reason: str) -> InputError:
        return InputError(
            f"{type(self).__name__}.{method} needs a basis that is not stored: {reason}; "
            f"spectral, spatial and spectral_measurement work in the stored part"
        )
