"""Decompositions by CuPy, SciPy and torch: the same factors."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests import cupy_stand_in
from tests.operators.problems import assert_close, images, random_matrix, sparse_matrix
from vml_fast.errors import MissingExtra
from vml_fast.operators import MatrixOperator, decompositions
from vml_fast.operators.decompositions import Factors, dense_svd, truncated_svd
from vml_fast.operators.sparse import compressed_rows

SHAPES = [(12, 20), (20, 12), (9, 9)]


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    return cupy_stand_in.install(monkeypatch)


def _check(factors: Factors, matrix: torch.Tensor, rank: int) -> None:
    """Orthonormal, descending, and the best approximation of this rank (Eckart and Young)."""
    u, s, vt = factors
    eye = torch.eye(rank, dtype=torch.float64)
    assert_close(u.T @ u, eye)
    assert_close(vt @ vt.T, eye)
    assert bool((s.diff() <= 0).all())
    every = torch.linalg.svdvals(matrix)
    assert_close(s, every[:rank])
    error = torch.linalg.matrix_norm(matrix - u * s @ vt)
    assert_close(error, every[rank:].square().sum().sqrt())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decompose", [dense_svd, decompositions._dense_on_gpu])
def test_dense(decompose: Callable[..., Factors], shape: tuple[int, int], cupy: Any) -> None:
    matrix = random_matrix(*shape)
    _check(decompose(matrix), matrix, min(shape))


def test_dense_on_a_gpu_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    matrix = random_matrix(12, 20)
    _check(decompositions._dense_on_gpu(matrix), matrix, 12)


def test_dense_where_divide_and_conquer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.linalg.LinAlgError("did not converge")

    matrix = random_matrix(12, 20)
    with monkeypatch.context() as patch:
        patch.setattr(torch.linalg, "svd", fail)
        factors = dense_svd(matrix)
    _check(factors, matrix, 12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("on_gpu", [False, True])
def test_sparse(on_gpu: bool, shape: tuple[int, int], cupy: Any) -> None:
    matrix = sparse_matrix(*shape, 0.4)
    read = compressed_rows(matrix)
    assert read is not None
    if on_gpu:
        u, s, vt = decompositions._sparse_on_gpu(read[0], shape, 5)
        factors = (u.contiguous(), s, vt.contiguous())
    else:
        factors = truncated_svd(read[0], shape[1], 5)
    _check(factors, torch.from_numpy(matrix.toarray()), 5)


def test_sparse_on_a_gpu_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    read = compressed_rows(sparse_matrix(12, 20, 0.4))
    assert read is not None
    with pytest.raises(MissingExtra, match=r"cupy is not installed.*vml-fast\[cupy\]"):
        decompositions._sparse_on_gpu(read[0], (12, 20), 5)


def test_matrices_of_cupy_are_shared(cupy: Any) -> None:
    dense = random_matrix(12, 20).numpy()
    H = MatrixOperator(cupy.ndarray(dense), (1, 4, 5))
    assert H.data["matrix"].data_ptr() == dense.ctypes.data

    rows = sparse_matrix(12, 20)
    parts = tuple(cupy.ndarray(part) for part in (rows.data, rows.indices, rows.indptr))
    H = MatrixOperator(cupy_stand_in.SparseRows(parts, rows.shape), (1, 4, 5))
    assert H.data["value"].data_ptr() == rows.data.ctypes.data
    assert H.data["column"].data_ptr() == rows.indices.ctypes.data
    assert H.data["row"].data_ptr() == rows.indptr.ctypes.data
    x = images(H)
    measured = H(cupy_stand_in.wrap(x))
    assert type(measured) is cupy.ndarray
    assert_close(torch.from_numpy(measured.values), H(x))


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
def test_sparse_tensors_are_shared(layout: torch.layout) -> None:
    matrix = torch.from_numpy(sparse_matrix(12, 20).toarray()).to_sparse(layout=layout)
    matrix = matrix.coalesce() if layout == torch.sparse_coo else matrix
    H = MatrixOperator(matrix, (1, 4, 5))
    columns = matrix.indices()[1] if layout == torch.sparse_coo else matrix.col_indices()
    assert H.data["value"].data_ptr() == matrix.values().data_ptr()
    assert H.data["column"].data_ptr() == columns.data_ptr()
