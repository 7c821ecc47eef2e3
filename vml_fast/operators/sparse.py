"""Sparse matrices of torch, SciPy and CuPy in compressed rows, without copies."""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vml_fast.arrays import as_floating, as_tensor


class CompressedRows(NamedTuple):
    """A sparse matrix: row i holds the entries row[i]:row[i+1] of `value`, in those of `column`."""

    row: Tensor
    column: Tensor
    value: Tensor


def compressed_rows(matrix: Any) -> tuple[CompressedRows, tuple[int, int]] | None:
    """Read a sparse matrix; None if `matrix` is not sparse.

    SciPy's and CuPy's CSR and torch's CSR layout share their memory; other formats, and rows with
    unsorted or repeated columns, are converted first.
    """
    if isinstance(matrix, Tensor):
        return _from_torch(matrix) if matrix.layout != torch.strided else None
    if not hasattr(matrix, "tocsr"):
        return None
    matrix = matrix.tocsr()
    if not getattr(matrix, "has_canonical_format", True):
        matrix = matrix.copy()
        matrix.sum_duplicates()
    rows = CompressedRows(
        as_tensor(matrix.indptr, "matrix"),
        as_tensor(matrix.indices, "matrix"),
        as_floating(matrix.data, "matrix"),
    )
    return rows, (int(matrix.shape[0]), int(matrix.shape[1]))


def _from_torch(matrix: Tensor) -> tuple[CompressedRows, tuple[int, int]]:
    _quiet_beta_warning()
    if matrix.layout == torch.sparse_coo:
        matrix = matrix.coalesce()
    matrix = matrix.detach().to_sparse_csr()
    value = as_floating(matrix.values(), "matrix")
    rows = CompressedRows(matrix.crow_indices(), matrix.col_indices(), value)
    return rows, (int(matrix.shape[0]), int(matrix.shape[1]))


def transpose(rows: CompressedRows, width: int) -> CompressedRows:
    """The transposed matrix, also in compressed rows, in which products are fast."""
    height = rows.row.shape[0] - 1
    order = torch.argsort(rows.column, stable=True)
    origin = torch.arange(height, dtype=rows.column.dtype, device=rows.column.device)
    column = origin.repeat_interleave(rows.row.diff().long())[order]
    counts = torch.bincount(rows.column, minlength=width).cumsum(0)
    row = torch.nn.functional.pad(counts, (1, 0)).to(rows.row.dtype)
    return CompressedRows(row, column, rows.value[order])


def product(rows: CompressedRows, width: int, x: Tensor) -> Tensor:
    """A x for each row of `x`: (B, width) -> (B, height)."""
    return (as_csr(rows, width) @ x.T).T


def as_csr(rows: CompressedRows, width: int) -> Tensor:
    """The torch tensor that views `rows`."""
    _quiet_beta_warning()
    shape = (rows.row.shape[0] - 1, width)
    return torch.sparse_csr_tensor(*rows, shape, check_invariants=False)


@functools.cache
def _quiet_beta_warning() -> None:
    """Let torch say once, unheard, that its CSR layout is in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        empty = torch.zeros(1, dtype=torch.int64)
        torch.sparse_csr_tensor(empty, empty[:0], torch.zeros(0), (0, 1), check_invariants=False)
