"""The colorization bracket: the reference against dense linear algebra, the kernels against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops.brackets import BracketTests, assert_is_dense, dense_bracket
from tests.ops.helpers import (
    LAYOUTS,
    assert_agrees,
    assert_refused,
    in_float64,
    kernels,
    random_coefficients,
    run,
)
from vml_fast.ops.colorization_bracket import colorization_bracket

OP = "colorization_bracket"


def arguments(shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    b, _, h, w = shape
    raw, x = (torch.randn(shape) for _ in range(2))
    return raw, x, torch.randn(b, 1, h, w), random_coefficients(b)


class TestColorizationBracket(BracketTests):
    op = OP

    def arguments(self, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
        return arguments(shape)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_reference_is_the_spectral_form_of_a_dense_matrix(channels: int) -> None:
    given = in_float64(arguments((2, channels, 2, 3)))
    raw, x, y, coefficients = given
    matrix = np.kron(np.full((1, channels), 1 / channels), np.eye(6))
    expected = [
        dense_bracket(matrix, raw[i], x[i], y[i].flatten().numpy(), (skip, out), weights)
        for i, (skip, out, *weights) in enumerate(coefficients.tolist())
    ]
    assert_is_dense(colorization_bracket(*given), expected, coefficients)


@kernels
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 17])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_channel_counts(backend: str, channels: int, layout: str, poisoned_memory: None) -> None:
    """Three channels have paths of their own; these do not."""
    given = (*map(LAYOUTS[layout], arguments((2, channels, 7, 9))[:3]), random_coefficients(2))
    assert_agrees(run(OP, backend, *given), colorization_bracket(*given))


@kernels
@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 3, 8, 8),
        torch.zeros(1, 1, 8, 8),
        torch.zeros(2, 8, 8),
        torch.zeros(2, 1, 8, 8, dtype=torch.bfloat16),
    ],
)
def test_wrong_measurements_are_refused(backend: str, wrong: Tensor) -> None:
    assert_refused(OP, backend, arguments((2, 3, 8, 8)), "y", wrong)
