"""The last pass of any bracket: the reference against dense matrices, the kernels against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops.brackets import BracketTests, assert_is_dense, dense_bracket
from tests.ops.helpers import assert_refused, in_float64, kernels, random_coefficients
from vml_fast.ops.general_bracket import general_bracket

OP = "general_bracket"


def arguments(shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    raw, x, term = (torch.randn(shape) for _ in range(3))
    return raw, x, term, random_coefficients(shape[0])


class TestGeneralBracket(BracketTests):
    op = OP

    def arguments(self, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
        return arguments(shape)


def test_reference_completes_the_gradient_of_a_dense_matrix() -> None:
    """With H^T (y - H D) as its term it is the bracket of alpha(s) = c s, beta constant."""
    raw, x, _, coefficients = in_float64(arguments((2, 2, 2, 3)))
    matrix, y = np.random.default_rng(0).normal(size=(7, 12)), torch.randn(2, 7).double().numpy()
    terms, expected = [], []
    for i, (skip, out, alpha, _, beta) in enumerate(coefficients.tolist()):
        image = (skip * x[i] + out * raw[i]).flatten().numpy()
        terms.append(torch.from_numpy(matrix.T @ (y[i] - matrix @ image)).view_as(x[i]))
        weights = (lambda s, alpha=alpha: alpha * s, beta, beta)
        expected.append(dense_bracket(matrix, raw[i], x[i], y[i], (skip, out), weights))
    outputs = general_bracket(raw, x, torch.stack(terms), coefficients)
    assert_is_dense(outputs, expected, coefficients)


@kernels
@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 3, 8, 9),
        torch.zeros(1, 3, 8, 8),
        torch.zeros(2, 3, 8, 8, dtype=torch.float64),
    ],
)
def test_wrong_terms_are_refused(backend: str, wrong: Tensor) -> None:
    assert_refused(OP, backend, arguments((2, 3, 8, 8)), "term", wrong)
