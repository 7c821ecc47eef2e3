"""An operator given as a matrix, dense or sparse."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from vml_fast.arrays import as_floating
from vml_fast.checks import check_count
from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.decompositions import dense_svd, truncated_svd
from vml_fast.operators.linear_operator import DEFAULT_RTOL, LinearOperator
from vml_fast.operators.linear_pair import LinearPair
from vml_fast.operators.sparse import (
    CompressedRows,
    as_csr,
    compressed_rows,
    product,
    transpose,
)
from vml_fast.operators.svd_operator import SVDOperator

_FACTORS = ("svd_u", "svd_s", "svd_vt")
_ROWS = ("row", "column", "value")


class MatrixOperator(SVDOperator):
    """y = A x for a matrix A that acts on the flattened image, or on each channel alike.

    A dense matrix gets its economy SVD at first use, in float64 on its device (O(m n min(m, n));
    on a GPU by CuPy where that is installed). With k = min of rows and columns, the spectral layout
    is (blocks, k), where blocks is C for a matrix that acts per channel and 1 otherwise. `vt` and
    `v` need all of V, so at least as many rows as columns; `ut` and `u` need all of U, so at most
    as many. `complete` says whether V is all there.

    A sparse matrix has no SVD unless `rank` asks for the leading triplets (SciPy on the CPU, CuPy
    on a GPU); everything else works by products and conjugate gradients. With `rank`, H itself
    stays exact, and the pseudo-inverse and the spectral layout see only the leading part.

    Args:
        matrix: (m, n) with n = C·H·W, or (m', H·W) to act on each of several channels. A dense
            array of torch, NumPy, CuPy or any library with DLPack, or a sparse one of torch, SciPy
            or CuPy (shared, not copied, where dtype and format allow: float32 or float64, CSR).
        image_shape: (C, H, W).
        measurement_shape: shape of the m (or m', per channel) rows' output; (m,) for None. Per
            channel, C is put in front.
        rank: number of leading singular triplets to keep.
    """

    def __init__(
        self,
        matrix: Any,
        image_shape: tuple[int, int, int],
        *,
        measurement_shape: Sequence[int] | None = None,
        rank: int | None = None,
        rtol: float = DEFAULT_RTOL,
    ) -> None:
        shape = checks.image_shape(image_shape)
        sparse = compressed_rows(matrix)
        if sparse is None:
            dense = as_floating(matrix, "matrix")
            data, size = {"matrix": dense}, tuple(dense.shape)
        else:
            data, size = sparse[0]._asdict(), sparse[1]
        self._sparse = sparse is not None
        self._blocks = _blocks(size, shape)
        self._height, self._width = size
        checks.finite("matrix", data["value" if self._sparse else "matrix"])
        rows_shape = _rows_shape(measurement_shape, self._height)
        full_shape = rows_shape if self._blocks == 1 else (self._blocks, *rows_shape)
        super().__init__(shape, full_shape, rtol=rtol, data=data)
        self._rows_shape = rows_shape
        self._rank = self._checked_rank(rank)
        self.has_svd = not self._sparse or rank is not None
        self.spectral_shape = (self._blocks, self._rank)
        self.complete = self._rank == self._width

    def _checked_rank(self, rank: int | None) -> int:
        smaller = min(self._height, self._width)
        if rank is None:
            return smaller
        largest = smaller - 1 if self._sparse else smaller
        if check_count("rank", rank, 1) > largest:
            kind = "sparse" if self._sparse else "dense"
            raise InputError(
                f"rank is {rank}; a {kind} matrix of shape {(self._height, self._width)} allows 1 "
                f"to {largest}"
            )
        return int(rank)

    def _arguments(self) -> dict[str, Any]:
        matrix = as_csr(self._rows(None), self._width) if self._sparse else self._data["matrix"]
        return {
            "matrix": matrix,
            "image_shape": self.image_shape,
            "measurement_shape": self._rows_shape,
            "rank": self._rank if self._rank < min(self._height, self._width) else None,
            "rtol": self.rtol,
        }

    def _replaceable(self) -> tuple[str, ...]:
        return ("matrix",)

    def _variant(self) -> tuple[Hashable, ...]:
        return self._blocks, self._rank, self.has_svd

    def _probe(self) -> tuple[torch.device, torch.dtype]:
        values = self._data["value" if self._sparse else "matrix"]
        return values.device, values.dtype

    # --- products -------------------------------------------------------------------------------

    def _forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, self._width)
        if self._sparse:
            y = LinearPair.apply(flat, self._sparse_product, self._sparse_adjoint)
        else:
            y = flat @ self._tensor("matrix", x).T
        return y.reshape(x.shape[0], *self.measurement_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        flat = y.reshape(-1, self._height)
        if self._sparse:
            x = LinearPair.apply(flat, self._sparse_adjoint, self._sparse_product)
        else:
            x = flat @ self._tensor("matrix", y)
        return x.reshape(y.shape[0], *self.image_shape)

    def _sparse_product(self, flat: Tensor) -> Tensor:
        return product(self._rows(flat), self._width, flat)

    def _sparse_adjoint(self, flat: Tensor) -> Tensor:
        return product(self._rows(flat, "transposed_"), self._height, flat)

    def _rows(self, like: Tensor | None, prefix: str = "") -> CompressedRows:
        return CompressedRows(*(self._tensor(prefix + name, like) for name in _ROWS))

    def _pseudo_inverse(self, y: Tensor) -> Tensor:
        if self.has_svd:
            return super()._pseudo_inverse(y)
        return LinearOperator._pseudo_inverse(self, y)

    def _compute_norm(self) -> float:
        if self.has_svd:
            return super()._compute_norm()
        return LinearOperator._compute_norm(self)

    # --- spectral layout ------------------------------------------------------------------------

    def _spectral(self, x: Tensor) -> Tensor:
        blocks = x.reshape(x.shape[0], self._blocks, self._width)
        return blocks @ self._tensor("svd_vt", x).T

    def _spatial(self, z: Tensor) -> Tensor:
        return (z @ self._tensor("svd_vt", z)).reshape(-1, *self.image_shape)

    def _spectral_measurement(self, y: Tensor) -> Tensor:
        blocks = y.reshape(y.shape[0], self._blocks, self._height)
        return blocks @ self._tensor("svd_u", y)

    def _derive(self, name: str) -> Tensor:
        if name in _FACTORS:
            self._derived.update(zip(_FACTORS, self._factorize(), strict=True))
            return self._derived[name]
        if name.startswith("transposed_"):
            rows = transpose(self._rows(None), self._width)
            self._derived.update(
                {f"transposed_{key}": part for key, part in rows._asdict().items()}
            )
            return self._derived[name]
        return super()._derive(name)

    def _factorize(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._sparse:
            return truncated_svd(self._rows(None), self._width, self._rank)
        u, s, vt = dense_svd(self._data["matrix"])
        rank = self._rank
        return u[:, :rank].contiguous(), s[:rank].contiguous(), vt[:rank].contiguous()

    def _derive_spectral_values(self) -> Tensor:
        return self._master("svd_s")[None]

    # --- flat layout ----------------------------------------------------------------------------

    def _derive_singular_values(self) -> Tensor:
        values = self._master("spectral_values").expand(self.spectral_shape).flatten()
        return pad(values, (0, self.image_size - values.shape[0]))

    def _pack(self, z: Tensor) -> Tensor:
        if not self.complete:
            raise self._incomplete("vt", self._missing("V", self._width))
        return z.flatten(1)

    def _unpack(self, z: Tensor) -> Tensor:
        if not self.complete:
            raise self._incomplete("v", self._missing("V", self._width))
        return z.unflatten(1, self.spectral_shape)

    def _ut(self, y: Tensor) -> Tensor:
        if self._rank < self._height:
            raise self._incomplete("ut", self._missing("U", self._height))
        return self._spectral_measurement(y).flatten(1)

    def _u(self, z: Tensor) -> Tensor:
        if self._rank < self._height:
            raise self._incomplete("u", self._missing("U", self._height))
        blocks = z.unflatten(1, (self._blocks, self._height))
        return (blocks @ self._tensor("svd_u", z).T).reshape(-1, *self.measurement_shape)

    def _missing(self, factor: str, size: int) -> str:
        return f"the economy SVD keeps {self._rank} of the {size} columns of {factor}"


def _blocks(size: tuple[int, ...], image_shape: tuple[int, int, int]) -> int:
    """1 if the matrix acts on the whole image, C if on each channel."""
    channels, height, width = image_shape
    if len(size) == 2 and size[0] > 0:
        if size[1] == channels * height * width:
            return 1
        if size[1] == height * width:
            return channels
    raise InputError(
        f"matrix has shape {size}; image_shape {image_shape} takes "
        f"(m, {channels * height * width}), or (m, {height * width}) to act on each channel"
    )


def _rows_shape(measurement_shape: Sequence[int] | None, height: int) -> tuple[int, ...]:
    if measurement_shape is None:
        return (height,)
    sizes = measurement_shape if isinstance(measurement_shape, Sequence) else ()
    if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
        sizes = ()
    if not sizes or math.prod(sizes) != height:
        raise InputError(
            f"measurement_shape is {measurement_shape!r}; allowed: a shape of {height} entries, "
            "the matrix's rows, all positive integers"
        )
    return tuple(int(size) for size in sizes)
