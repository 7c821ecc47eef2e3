"""The few names of CuPy that the package uses, on NumPy arrays in the host's memory."""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

HOST, CUDA = (1, 0), (2, 0)


class Array:
    """Stands for cupy.ndarray: no NumPy array, and readable through DLPack alone."""

    def __init__(self, values: np.ndarray, device: tuple[int, int] = HOST) -> None:
        self.values, self.device = values, device

    def __dlpack__(self, **keywords: Any) -> Any:
        return self.values.__dlpack__(**keywords)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


class SparseRows:
    """Stands for cupyx.scipy.sparse.csr_matrix."""

    def __init__(self, parts: tuple[Array, Array, Array], shape: tuple[int, int]) -> None:
        self.data, self.indices, self.indptr = parts
        self.shape = shape

    def tocsr(self) -> SparseRows:
        return self


def _from_dlpack(tensor: Any) -> Array:
    assert tensor.__dlpack_device__() == HOST
    return Array(np.from_dlpack(tensor))


def _svd(matrix: Array, full_matrices: bool) -> tuple[Array, ...]:
    assert matrix.values.dtype == np.float64
    return tuple(Array(part) for part in np.linalg.svd(matrix.values, full_matrices=full_matrices))


def _svds(matrix: SparseRows, k: int) -> tuple[Array, ...]:
    parts = (matrix.data.values, matrix.indices.values, matrix.indptr.values)
    rows = scipy.sparse.csr_matrix(parts, shape=matrix.shape)
    u, s, vt = scipy.sparse.linalg.svds(rows, k=k)
    return Array(u[:, ::-1]), Array(s[::-1]), Array(vt[::-1])  # reversed views


def install(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Make `import cupy` and `import cupyx...` find the stand-in; returns it."""
    cupy, cuda, linalg = (ModuleType(name) for name in ("cupy", "cupy.cuda", "cupy.linalg"))
    cupy.ndarray, cupy.from_dlpack = Array, _from_dlpack
    cupy.ascontiguousarray = lambda array: Array(np.ascontiguousarray(array.values))
    cupy.cuda, cupy.linalg = cuda, linalg
    cuda.Device = lambda index: contextlib.nullcontext()
    linalg.svd = _svd
    sparse = ModuleType("cupyx.scipy.sparse")
    sparse.csr_matrix = SparseRows
    sparse.linalg = ModuleType("cupyx.scipy.sparse.linalg")
    sparse.linalg.svds = _svds
    for module in (cupy, sparse, sparse.linalg):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return cupy


def wrap(tensor: torch.Tensor) -> Array:
    return Array(tensor.numpy())
