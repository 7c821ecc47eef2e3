"""The separable bracket: the reference against a Kronecker product, the kernels against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops.brackets import BracketTests, assert_is_dense, dense_bracket
from tests.ops.helpers import (
    INTERPRETED,
    assert_agrees,
    assert_backend_agrees,
    assert_keeps_formats,
    assert_refused,
    in_float64,
    kernels,
    random_coefficients,
    run,
)
from vml_fast.ops.separable_bracket import separable_bracket

OP = "separable_bracket"


def arguments(
    shape: tuple[int, ...], rank: tuple[int, int] | None = None, with_prior: bool = True
) -> tuple:
    """Orthonormal columns V_r, V_c, as many as `rank` says (all of them by default)."""
    b, c, height, width = shape
    h, w = rank or (height, width)
    raw, x = (torch.randn(shape) for _ in range(2))
    s = torch.rand(1, 1, h, w) * (torch.rand(1, 1, h, w) > 0.2)
    alpha, beta = torch.rand(b, 1, h, w), torch.randn(b, 1, h, w)
    rows_v, columns_v = (
        torch.linalg.qr(torch.randn(n, n)).Q[:, :k] for n, k in ((height, h), (width, w))
    )
    target = torch.randn(b, c, h, w)
    prior = beta if with_prior else None
    return raw, x, target, s, alpha, prior, rows_v, columns_v, random_coefficients(b)


class TestSeparableBracket(BracketTests):
    op = OP

    def arguments(self, shape: tuple[int, ...]) -> tuple:
        return arguments(shape)


@pytest.mark.parametrize("with_prior", [True, False])
@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ((4, 4), (5, 5)),  # a blur
        ((2, 4), (2, 5)),  # super-resolution: V_r and V_c leave out most of the null space
    ],
)
def test_reference_is_the_spectral_form_of_a_dense_matrix(
    rows: tuple[int, int], columns: tuple[int, int], with_prior: bool
) -> None:
    generator = np.random.default_rng(0)
    left, right = generator.normal(size=rows), generator.normal(size=columns)
    if rows[0] == rows[1]:
        left[-1] = left[0]  # a null space of the blur too
    matrix = np.kron(np.eye(2), np.kron(left, right))
    raw, x = (torch.randn(2, 2, rows[1], columns[1]).double() for _ in range(2))
    y = torch.randn(2, 2, rows[0], columns[0]).double().numpy()
    coefficients = random_coefficients(2).double()
    u_r, s_r, vt_r = np.linalg.svd(left, full_matrices=False)
    u_c, s_c, vt_c = np.linalg.svd(right, full_matrices=False)
    s = np.outer(s_r, s_c)
    s[s < 1e-12] = 0.0

    def alpha(s: np.ndarray) -> np.ndarray:
        return s / (s**2 + 0.1)

    def beta(s: np.ndarray) -> np.ndarray:
        return 0.3 + s**2 if with_prior else np.zeros_like(s)

    tables = [torch.from_numpy(t)[None, None] for t in (s, alpha(s), beta(s))]
    if not with_prior:
        tables[2] = None
    target = torch.from_numpy(u_r.T @ y @ u_c)
    vectors = torch.from_numpy(vt_r.T), torch.from_numpy(vt_c.T)
    outputs = separable_bracket(raw, x, target, *tables, *vectors, coefficients)
    expected = []
    for i, (skip, out, scale, _, beta_null) in enumerate(coefficients.tolist()):
        weights = (
            lambda s, scale=scale: scale * alpha(s),
            lambda s, scale=scale, beta_null=beta_null: beta_null + scale * beta(s),
            beta_null,
        )
        expected.append(dense_bracket(matrix, raw[i], x[i], y[i].ravel(), (skip, out), weights))
    assert_is_dense(outputs, expected, coefficients)


@kernels
@pytest.mark.parametrize("with_prior", [True, False])
@pytest.mark.parametrize(
    "rank",
    [
        (1, 1),  # one singular vector of each side
        (3, 12),  # rows cut, columns whole
        (9, 5),  # the other way round
    ],
)
def test_left_out_null_space(
    backend: str, rank: tuple[int, int], with_prior: bool, poisoned_memory: None
) -> None:
    given = arguments((2, 3, 9, 12), rank, with_prior)
    assert_agrees(run(OP, backend, *given), separable_bracket(*given))


@kernels
def test_vectors_in_any_memory_layout(backend: str) -> None:
    given = list(arguments((2, 3, 8, 10), (5, 7)))
    for place in (6, 7):
        given[place] = given[place].T.contiguous().T
    assert_agrees(run(OP, backend, *given), separable_bracket(*given))


WITHOUT_PRIOR = [
    ((1, 2, 16, 16), (16, 16)),  # the smallest factors that the C++ op multiplies itself
    ((2, 3, 32, 48), (16, 32)),  # rows and columns that differ; 32 and 48 are no multiples of 6
    ((2, 1, 64, 112), (32, 80)),  # more columns than a panel of 64 has, with a remainder of 16
    ((2, 2, 48, 176), (48, 112)),  # with one of 48
    ((0, 3, 32, 32), (16, 16)),
]


@kernels
@pytest.mark.parametrize(("shape", "rank"), WITHOUT_PRIOR, ids=str)
@pytest.mark.parametrize("tables", ["whole", "one number"])
def test_small_factors_without_noise(
    backend: str,
    shape: tuple[int, ...],
    rank: tuple[int, int],
    tables: str,
    poisoned_memory: None,
) -> None:
    """No prior term at all: from F to v in four products."""
    given = list(arguments(shape, rank, with_prior=False))
    given[-1][:, 4] = 0.0
    if tables == "one number":
        for i in (2, 3, 4):
            given[i] = given[i][..., :1, :1].expand_as(given[i])
    assert_backend_agrees(OP, backend, tuple(given))
    assert_keeps_formats(OP, backend, tuple(given))


@kernels
@pytest.mark.skipif(INTERPRETED, reason="too large for Triton's interpreter")
@pytest.mark.parametrize("first", [0, 1], ids=["aligned", "unaligned"])
def test_results_larger_than_the_caches(backend: str, first: int, poisoned_memory: None) -> None:
    """Written past them, where their address allows it."""
    given = list(arguments((3, 3, 256, 256), (64, 64), with_prior=False))
    given[-1][:, 4] = 0.0
    for i in (0, 1):
        memory = torch.empty(given[i].numel() + 1)
        given[i] = memory[first : first + given[i].numel()].view_as(given[i]).copy_(given[i])
    assert_backend_agrees(OP, backend, tuple(given))


def test_reference_does_not_read_beta_where_s_is_zero() -> None:
    given = list(in_float64(arguments((2, 1, 6, 6))))
    before = separable_bracket(*given)
    given[5] = torch.where(given[3] == 0, float("nan"), given[5])
    assert_agrees(separable_bracket(*given), before, 0.0)


@kernels
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("target", torch.zeros(2, 3, 8, 9)),
        ("target", torch.zeros(2, 3, 8, 8, dtype=torch.float64)),
        ("s", torch.zeros(1, 1, 8, 9)),
        ("alpha", torch.zeros(3, 1, 8, 8)),
        ("beta", torch.zeros(1, 2, 8, 8)),
        ("rows_v", torch.zeros(9, 8)),
        ("rows_v", torch.zeros(8)),
        ("rows_v", torch.zeros(8, 8, dtype=torch.float64)),
        ("columns_v", torch.zeros(7, 8)),
        ("columns_v", torch.zeros(1, 8, 8)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, argument: str, wrong: Tensor) -> None:
    assert_refused(OP, backend, arguments((2, 3, 8, 8)), argument, wrong)
