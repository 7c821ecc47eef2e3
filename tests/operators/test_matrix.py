"""Matrices of several libraries: shared memory, economy bases, truncated decompositions."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from tests.operators.problems import (
    MATRICES,
    assert_close,
    dense,
    images,
    measurements,
    random_matrix,
    sparse_matrix,
)
from vml_fast.errors import InputError
from vml_fast.operators import MatrixOperator

SHAPE = (1, 4, 5)


class _OtherLibrary:
    """An array of which only DLPack is known, as CuPy's are to code that does not import CuPy."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **keywords: Any) -> Any:
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class _OtherSparse:
    """A CSR matrix that is neither SciPy's nor torch's, as CuPy's are."""

    def __init__(self, matrix: scipy.sparse.csr_array) -> None:
        self.shape = matrix.shape
        self.data = _OtherLibrary(matrix.data)
        self.indices = _OtherLibrary(matrix.indices)
        self.indptr = _OtherLibrary(matrix.indptr)

    def tocsr(self) -> "_OtherSparse":
        return self


def _expected(matrix: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(x.flatten(1).numpy() @ matrix.astype(np.float64).T)


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy, _OtherLibrary])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dense_arrays_are_shared(wrap: Any, dtype: type) -> None:
    matrix = random_matrix(12, 20).numpy().astype(dtype)
    H = MatrixOperator(wrap(matrix), SHAPE)
    assert H.data["matrix"].data_ptr() == matrix.ctypes.data
    x = images(H)
    assert_close(H(x), _expected(matrix, x))


@pytest.mark.parametrize("wrap", [lambda m: m, scipy.sparse.csr_matrix, _OtherSparse])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_arrays_are_shared(wrap: Any, dtype: type) -> None:
    matrix = sparse_matrix(12, 20).astype(dtype)
    H = MatrixOperator(wrap(matrix), SHAPE)
    assert H.data["value"].data_ptr() == matrix.data.ctypes.data
    assert H.data["column"].data_ptr() == matrix.indices.ctypes.data
    x = images(H)
    assert_close(H(x), _expected(matrix.toarray(), x))


@pytest.mark.parametrize("layout", ["csr", "coo", "csc", "lil", "dia"])
def test_sparse_formats(layout: str) -> None:
    matrix = sparse_matrix(12, 20)
    H = MatrixOperator(matrix.asformat(layout), SHAPE)
    x, y = images(H), measurements(H)
    assert_close(H(x), _expected(matrix.toarray(), x))
    assert_close(H.adjoint(y).flatten(1), y @ torch.from_numpy(matrix.toarray()))


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_torch_sparse_layouts(layout: torch.layout) -> None:
    matrix = torch.from_numpy(sparse_matrix(12, 20).toarray())
    H = MatrixOperator(matrix.to_sparse(layout=layout), SHAPE)
    x, y = images(H), measurements(H)
    assert_close(H(x), x.flatten(1) @ matrix.T)
    assert_close(H.adjoint(y).flatten(1), y @ matrix)


def test_repeated_and_unsorted_entries_are_summed_in_a_copy() -> None:
    data, column, row = np.array([1.0, 2.0, 4.0]), np.array([3, 1, 3]), np.array([0, 3, 3])
    matrix = scipy.sparse.csr_matrix((data, column, row), shape=(2, 4))
    H = MatrixOperator(matrix, (1, 2, 2))
    x = images(H)
    assert_close(H(x)[:, 0], 2 * x[:, 0, 0, 1] + 5 * x[:, 0, 1, 1])
    assert H.data["column"].tolist() == [1, 3] and H.data["value"].tolist() == [2.0, 5.0]
    assert matrix.data.tolist() == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    "matrix",
    [
        np.arange(40).reshape(2, 20),
        np.arange(40).reshape(2, 20) % 3 == 0,
        np.arange(40, dtype=np.float16).reshape(2, 20),
        np.arange(40.0).reshape(2, 20)[::-1, ::-1],
        np.asfortranarray(np.arange(40.0).reshape(2, 20)),
        np.arange(40.0).reshape(2, 20).astype(">f8"),
        np.arange(40.0).reshape(2, 20).tolist(),
        scipy.sparse.csr_array(np.arange(40).reshape(2, 20)),
    ],
    ids=["int", "bool", "half", "reversed", "Fortran", "big-endian", "list", "sparse int"],
)
def test_other_kinds_of_numbers(matrix: Any) -> None:
    H = MatrixOperator(matrix, SHAPE)
    x = images(H)
    plain = matrix.toarray() if scipy.sparse.issparse(matrix) else np.asarray(matrix)
    assert_close(H(x), _expected(plain, x))


def test_read_only_arrays() -> None:
    matrix = random_matrix(3, 20).numpy().copy()
    matrix.flags.writeable = False
    H = MatrixOperator(matrix, SHAPE)
    x = images(H)
    assert_close(H(x), _expected(matrix, x))


def test_more_measurements_than_pixels() -> None:
    """The least-squares solution, from inconsistent measurements too."""
    H = MATRICES["more rows"]()
    y = measurements(H)
    expected = torch.linalg.lstsq(dense(H), y.T).solution.T
    assert_close(H.pseudo_inverse(y).flatten(1), expected)
    assert H.complete
    assert_close(H.v(H.vt(images(H))), images(H))


def test_per_channel_is_the_block_diagonal_matrix() -> None:
    block = random_matrix(6, 12)
    H = MatrixOperator(block, (3, 3, 4), measurement_shape=(2, 3))
    assert H.measurement_shape == (3, 2, 3)
    assert_close(dense(H), torch.block_diag(block, block, block))


@pytest.mark.parametrize(
    ("name", "missing", "there"),
    [
        ("fewer rows", ("vt", "v"), ("ut", "u")),
        ("fewer rows, per channel", ("vt", "v"), ("ut", "u")),
        ("more rows", ("ut", "u"), ("vt", "v")),
        ("more rows, per channel", ("ut", "u"), ("vt", "v")),
    ],
)
def test_the_missing_side_is_named(
    name: str, missing: tuple[str, str], there: tuple[str, str]
) -> None:
    H = MATRICES[name]()
    arguments = {
        "vt": images(H),
        "v": torch.zeros(1, H.image_size),
        "ut": measurements(H),
        "u": torch.zeros(1, H.measurement_size),
    }
    for method in missing:
        with pytest.raises(InputError, match=f"{method} needs a basis.*spectral"):
            getattr(H, method)(arguments[method])
    for method in there:
        getattr(H, method)(arguments[method])


def test_the_basis_that_is_there_is_orthonormal() -> None:
    wide, tall = MATRICES["fewer rows"](), MATRICES["more rows"]()
    u = wide.u(torch.eye(10, dtype=torch.float64))
    assert_close(u @ u.T, torch.eye(10, dtype=torch.float64))
    v = tall.vt(torch.eye(24, dtype=torch.float64).unflatten(1, tall.image_shape))
    assert_close(v @ v.T, torch.eye(24, dtype=torch.float64))


def test_dense_rank_keeps_the_leading_part() -> None:
    matrix = random_matrix(12, 20)
    H = MatrixOperator(matrix, SHAPE, rank=4)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    x, y = images(H), measurements(H)
    assert_close(H(x), x.flatten(1) @ matrix.T)
    inverse = vt[:4].T @ torch.diag(1 / s[:4]) @ u[:, :4].T
    assert_close(H.pseudo_inverse(y).flatten(1), y @ inverse.T)
    assert not H.complete and H.rank() == 4 and H.norm() == pytest.approx(float(s[0]))
    assert_close(H.singular_values(), torch.nn.functional.pad(s[:4], (0, 16)))


@pytest.mark.parametrize("rows", [12, 30])
@pytest.mark.parametrize("shape", [(1, 4, 5), (2, 4, 5)], ids=["whole", "per channel"])
def test_sparse_rank_is_the_leading_part_of_the_dense_svd(
    rows: int, shape: tuple[int, int, int]
) -> None:
    matrix = sparse_matrix(rows, 20, 0.4)
    H = MatrixOperator(matrix, shape, rank=7)
    same = MatrixOperator(matrix.toarray(), shape, rank=7)
    x, y = images(H), measurements(H)
    assert H.has_svd and not H.complete and H.structure != same.structure
    assert_close(H.singular_values(), same.singular_values())
    assert_close(H.spatial(H.spectral(x)), same.spatial(same.spectral(x)))
    assert_close(H.pseudo_inverse(y), same.pseudo_inverse(y))
    s = H.spectral_singular_values()
    assert_close(H.spectral_measurement(H(x)), s * H.spectral(x))
    basis = H._tensor("svd_vt", x)
    assert_close(basis @ basis.T, torch.eye(7, dtype=torch.float64))


def test_a_sparse_matrix_without_rank_says_what_works() -> None:
    H = MatrixOperator(sparse_matrix(12, 20), SHAPE)
    assert not H.has_svd
    for method in ("singular_values", "spectral_singular_values", "rank", "retained"):
        with pytest.raises(InputError, match=rf"no SVD.*{method}\(\).*pseudo_inverse.*rank="):
            getattr(H, method)()
    with pytest.raises(InputError, match="no SVD"):
        H.spectral(images(H))


def test_a_float32_matrix_serves_float64_and_the_other_way() -> None:
    for dtype in (torch.float32, torch.float64):
        matrix = random_matrix(12, 20, dtype=dtype)
        H = MatrixOperator(matrix, SHAPE)
        for wanted in (torch.float32, torch.float64):
            x = images(H, 2, wanted)
            assert_close(H(x), x.flatten(1) @ matrix.to(wanted).T)
            assert_close(
                H.spectral_measurement(H(x)), H.spectral_singular_values(x) * H.spectral(x)
            )
