"""Operators that act on rows and columns apart: Y = R X Cᵀ in every channel."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from vml_fast.operators.svd_operator import SVDOperator

_SIDES = ("rows", "columns")
_FACTORS = ("u", "ut", "v", "vt", "values")


class SeparableOperator(SVDOperator):
    """Y = R X Cᵀ for each channel X (H × W), with R (h × H) and C (w × W), h <= H and w <= W.

    With R = U_r Σ_r V_rᵀ and C = U_c Σ_c V_cᵀ the coordinates are Z = V_rᵀ X V_c and the singular
    values are the outer product of the two spectra, so two small decompositions are all that is
    computed and stored. The spectral layout is (C, H, W); the non-zero values fill its top left
    h × w corner.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], rows: int, columns: int, **keywords: Any
    ) -> None:
        super().__init__(image_shape, (image_shape[0], rows, columns), **keywords)
        self.spectral_shape = self.image_shape

    @abstractmethod
    def _derive_rows(self) -> Tensor:
        """R, (h, H), float64."""

    @abstractmethod
    def _derive_columns(self) -> Tensor:
        """C, (w, W), float64."""

    def _sandwich(self, left: str, x: Tensor, right: str) -> Tensor:
        """Left · x · right; the right product first, as it is one large GEMM."""
        return torch.matmul(self._tensor(left, x), x @ self._tensor(right, x))

    def right_factors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """V_r (H, h) and V_c (W, w), without the null space, in the dtype and device of `like`."""
        _, rows, columns = self.measurement_shape
        v_rows, v_columns = self._tensor("rows_v", like), self._tensor("columns_v", like)
        return v_rows[:, :rows].contiguous(), v_columns[:, :columns].contiguous()

    def _forward(self, x: Tensor) -> Tensor:
        return self._sandwich("rows", x, "columns_t")

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._sandwich("rows_t", y, "columns")

    def _spectral(self, x: Tensor) -> Tensor:
        return self._sandwich("rows_vt", x, "columns_v")

    def _spatial(self, z: Tensor) -> Tensor:
        return self._sandwich("rows_v", z, "columns_vt")

    def _spectral_measurement(self, y: Tensor) -> Tensor:
        coordinates = self._sandwich("rows_ut", y, "columns_u")
        _, height, width = self.image_shape
        _, rows, columns = self.measurement_shape
        return pad(coordinates, (0, width - columns, 0, height - rows))

    def _ut(self, y: Tensor) -> Tensor:
        return self._sandwich("rows_ut", y, "columns_u").flatten(1)

    def _u(self, z: Tensor) -> Tensor:
        return self._sandwich("rows_u", z.unflatten(1, self.measurement_shape), "columns_ut")

    def _pack(self, z: Tensor) -> Tensor:
        """The corner with the non-zero values, then what is right of it, then what is below."""
        _, rows, columns = self.measurement_shape
        parts = z[..., :rows, :columns], z[..., :rows, columns:], z[..., rows:, :]
        return torch.cat([part.flatten(1) for part in parts], 1)

    def _unpack(self, z: Tensor) -> Tensor:
        channels, height, width = self.image_shape
        _, rows, columns = self.measurement_shape
        sizes = [channels * rows * columns, channels * rows * (width - columns)]
        corner, right, below = z.split([*sizes, self.image_size - sum(sizes)], 1)
        top = torch.cat(
            [
                corner.unflatten(1, (channels, rows, columns)),
                right.unflatten(1, (channels, rows, width - columns)),
            ],
            3,
        )
        return torch.cat([top, below.unflatten(1, (channels, height - rows, width))], 2)

    def _derive_singular_values(self) -> Tensor:
        values = self._master("spectral_values").expand(self.spectral_shape)
        return self._pack(values[None])[0]

    def _derive_spectral_values(self) -> Tensor:
        return torch.outer(self._master("rows_values"), self._master("columns_values"))[None]

    def _derive_rows_t(self) -> Tensor:
        return self._master("rows").T.contiguous()

    def _derive_columns_t(self) -> Tensor:
        return self._master("columns").T.contiguous()

    def _derive(self, name: str) -> Tensor:
        side, _, factor = name.partition("_")
        if side in _SIDES and factor in _FACTORS:
            self._factorize(side)
            return self._derived[name]
        return super()._derive(name)

    def _factorize(self, side: str) -> None:
        """Decompose R or C, and keep each factor in the orientation that a product reads."""
        matrix = self._master(side)
        if side == "columns" and torch.equal(matrix, self._master("rows")):
            for factor in _FACTORS:
                self._derived[f"columns_{factor}"] = self._master(f"rows_{factor}")
            return
        u, values, vt = torch.linalg.svd(matrix, full_matrices=True)
        padded = values.new_zeros(vt.shape[0])
        padded[: values.shape[0]] = values
        orientations = (u, u.T, vt.T, vt, padded)
        for factor, tensor in zip(_FACTORS, orientations, strict=True):
            self._derived[f"{side}_{factor}"] = tensor.contiguous()
