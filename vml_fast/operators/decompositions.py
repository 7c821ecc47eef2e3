"""Singular value decompositions of matrices: of dense ones in full, of sparse ones in part.

On a GPU both go through CuPy; the full one through torch where CuPy is not installed. On the CPU
the full one is LAPACK's gesdd through torch, and SciPy's gesvd where that does not converge; the
partial one is SciPy's (ARPACK).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vml_fast.errors import MissingExtra, require
from vml_fast.operators.sparse import CompressedRows

Factors = tuple[Tensor, Tensor, Tensor]
"""U (m, k), the singular values (k,) in descending order, Vᵀ (k, n)."""


def dense_svd(matrix: Tensor) -> Factors:
    """The economy SVD, k = min(m, n), in float64, on the device of `matrix` (m, n)."""
    matrix = matrix.double()
    if matrix.is_cuda:
        return _dense_on_gpu(matrix)
    try:
        return torch.linalg.svd(matrix, full_matrices=False)
    except torch.linalg.LinAlgError:
        # Divide and conquer (gesdd) can fail where many singular values are equal; QR does not.
        linalg = require("scipy.linalg", "scipy")
        factors = linalg.svd(matrix.numpy(), full_matrices=False, lapack_driver="gesvd")
        return _tensors(factors, torch.from_numpy, np.ascontiguousarray)


def truncated_svd(rows: CompressedRows, width: int, rank: int) -> Factors:
    """The leading `rank` singular triplets of a sparse matrix, in float64, on its device.

    CuPy finds them from AᵀA: singular values below 1.5e-5 of the largest come out as zero.

    Raises:
        MissingExtra: SciPy (on the CPU) or CuPy (on a GPU) is not installed.
    """
    rows = rows._replace(value=rows.value.double())
    shape = (rows.row.shape[0] - 1, width)
    factors = (_sparse_on_gpu if rows.value.is_cuda else _sparse_on_cpu)(rows, shape, rank)
    u, s, vt = factors
    order = torch.argsort(s, descending=True)
    return u[:, order].contiguous(), s[order], vt[order].contiguous()


def _dense_on_gpu(matrix: Tensor) -> Factors:
    try:
        cupy = require("cupy", "cupy")
    except MissingExtra:
        return torch.linalg.svd(matrix, full_matrices=False)
    with cupy.cuda.Device(matrix.device.index):
        factors = cupy.linalg.svd(cupy.from_dlpack(matrix), full_matrices=False)
        return _tensors(factors, torch.from_dlpack, cupy.ascontiguousarray)


def _sparse_on_gpu(rows: CompressedRows, shape: tuple[int, int], rank: int) -> Factors:
    cupy = require("cupy", "cupy")
    sparse = require("cupyx.scipy.sparse", "cupy")
    linalg = require("cupyx.scipy.sparse.linalg", "cupy")
    with cupy.cuda.Device(rows.value.device.index):
        matrix = _compressed(sparse, rows, shape, cupy.from_dlpack)
        return _tensors(linalg.svds(matrix, k=rank), torch.from_dlpack, cupy.ascontiguousarray)


def _sparse_on_cpu(rows: CompressedRows, shape: tuple[int, int], rank: int) -> Factors:
    sparse = require("scipy.sparse", "scipy")
    linalg = require("scipy.sparse.linalg", "scipy")
    matrix = _compressed(sparse, rows, shape, Tensor.numpy)
    # A fixed start makes the result reproducible.
    start = np.random.default_rng(0).standard_normal(min(shape))
    factors = linalg.svds(matrix, k=rank, v0=start)
    return _tensors(factors, torch.from_numpy, np.ascontiguousarray)


def _compressed(
    sparse: ModuleType, rows: CompressedRows, shape: tuple[int, int], convert: Callable[..., Any]
) -> Any:
    parts = tuple(convert(part) for part in (rows.value, rows.column, rows.row))
    return sparse.csr_matrix(parts, shape=shape)


def _tensors(
    factors: tuple[Any, Any, Any], convert: Callable[..., Tensor], contiguous: Callable[..., Any]
) -> Factors:
    # Factors may be reversed views, whose negative strides torch does not have.
    u, s, vt = (convert(contiguous(factor)) for factor in factors)
    return u, s, vt
