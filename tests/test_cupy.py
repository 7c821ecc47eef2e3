"""CuPy itself, on a GPU: shared memory both ways, decompositions, and whole solves."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.operators.problems import random_matrix, sparse_matrix
from tests.solvers.problems import problem
from vml_fast.arrays import as_tensor, back_to
from vml_fast.operators import MatrixOperator
from vml_fast.operators.decompositions import dense_svd
from vml_fast.solvers import State, restore

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SHAPE = (1, 4, 5)


@pytest.fixture
def cupy() -> Any:
    return pytest.importorskip("cupy")


def test_memory_is_shared_both_ways(cupy: Any) -> None:
    array = cupy.arange(24, dtype=cupy.float32).reshape(3, 8)[:, ::2]
    tensor = as_tensor(array, "x")
    assert tensor.is_cuda and tensor.data_ptr() == array.data.ptr
    back = back_to(array)(tensor)
    assert isinstance(back, cupy.ndarray) and back.data.ptr == array.data.ptr
    assert isinstance(back_to(np.zeros(1))(tensor), np.ndarray)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_matrices(cupy: Any, dtype: str) -> None:
    matrix = random_matrix(12, 20).numpy().astype(dtype)
    on_gpu = cupy.asarray(matrix)
    H = MatrixOperator(on_gpu, SHAPE)
    assert H.data["matrix"].data_ptr() == on_gpu.data.ptr
    x = cupy.random.default_rng(0).standard_normal((2, *SHAPE), dtype=dtype)
    y = H(x)
    assert isinstance(y, cupy.ndarray) and y.dtype == dtype
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(y.get(), x.get().reshape(2, -1) @ matrix.T, atol=tolerance)
    inverse = np.linalg.pinv(matrix.astype(np.float64))
    expected = y.get().astype(np.float64) @ inverse.T
    actual = H.pseudo_inverse(y).get().reshape(2, -1)
    np.testing.assert_allclose(actual, expected, atol=10 * tolerance)
    u, s, vt = dense_svd(H.data["matrix"])
    torch.testing.assert_close(u * s @ vt, torch.from_numpy(matrix).double().cuda())


@pytest.mark.parametrize("rows", [12, 30])
def test_sparse_matrices(cupy: Any, rows: int) -> None:
    sparse = pytest.importorskip("cupyx.scipy.sparse")
    matrix = sparse_matrix(rows, 20, 0.4)
    on_gpu = sparse.csr_matrix(matrix)
    H = MatrixOperator(on_gpu, SHAPE, rank=5)
    assert H.data["value"].data_ptr() == on_gpu.data.data.ptr
    assert H.data["column"].data_ptr() == on_gpu.indices.data.ptr
    x = cupy.random.default_rng(0).standard_normal((2, *SHAPE))
    np.testing.assert_allclose(H(x).get(), x.get().reshape(2, -1) @ matrix.toarray().T, atol=1e-12)
    values = np.linalg.svd(matrix.toarray(), compute_uv=False)[:5]
    np.testing.assert_allclose(H.singular_values()[:5].cpu(), values, atol=1e-7)
    z = torch.randn(2, *H.spectral_shape, dtype=torch.float64, device="cuda")
    torch.testing.assert_close(H.spectral(H.spatial(z)), z)


def test_a_solve_equals_that_of_tensors(cupy: Any) -> None:
    setting = problem(noise_std=0.05, dtype=torch.float32)
    seen: list[State] = []
    settings = {"noise_std": 0.05, "steps": 5, "inner_steps": 3}
    run = (setting.operator, setting.denoiser)
    expected = restore(setting.y.cuda(), *run, **settings)
    result = restore(cupy.asarray(setting.y.numpy()), *run, callback=seen.append, **settings)
    for array in (result.image, result.residual, seen[0].denoised, result.trace[0].residual):
        assert isinstance(array, cupy.ndarray)
    np.testing.assert_array_equal(result.image.get(), expected.image.cpu())
