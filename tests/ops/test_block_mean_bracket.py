"""The block-mean bracket: the reference against dense linear algebra, the kernels against it."""

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
from vml_fast.ops.block_mean_bracket import block_mean_bracket

OP = "block_mean_bracket"


def arguments(measured: tuple[int, ...], factor: int) -> tuple:
    """For a measurement of this shape; images are `factor` times as high and wide."""
    b, c, h, w = measured
    raw, x = (torch.randn(b, c, factor * h, factor * w) for _ in range(2))
    return raw, x, torch.randn(measured), factor, random_coefficients(b)


class TestBlockMeanBracket(BracketTests):
    op = OP

    def arguments(self, shape: tuple[int, ...]) -> tuple:
        return arguments(shape, 2)


@pytest.mark.parametrize(("height", "width", "factor"), [(1, 1, 3), (2, 3, 2), (3, 1, 4)])
def test_reference_is_the_spectral_form_of_a_dense_matrix(
    height: int, width: int, factor: int
) -> None:
    given = in_float64(arguments((2, 2, height, width), factor))
    raw, x, y, _, coefficients = given

    def means(n: int) -> np.ndarray:
        return np.kron(np.eye(n), np.full((1, factor), 1 / factor))

    matrix = np.kron(np.eye(2), np.kron(means(height), means(width)))
    expected = [
        dense_bracket(matrix, raw[i], x[i], y[i].flatten().numpy(), (skip, out), weights)
        for i, (skip, out, *weights) in enumerate(coefficients.tolist())
    ]
    assert_is_dense(block_mean_bracket(*given), expected, coefficients)


FACTORS = [
    1,  # every pixel is a block: no null space
    2,
    3,  # no power of two
    4,
    5,
    8,
    16,  # a whole row of the image
    37,  # blocks wider than a vector, and prime
]


@kernels
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_factors(
    backend: str, factor: int, channels: int, layout: str, poisoned_memory: None
) -> None:
    raw, x, y, _, coefficients = arguments((2, channels, 2, 16 // factor + 1), factor)
    given = (LAYOUTS[layout](raw), LAYOUTS[layout](x), y, factor, coefficients)
    assert_agrees(run(OP, backend, *given), block_mean_bracket(*given))


@kernels
@pytest.mark.parametrize(
    ("columns", "factor"),
    [
        (300, 2),  # rows longer than one run of pixels, with a remainder
        (175, 3),  # the same where runs end at blocks of 3
        (1, 600),  # a block that is longer than a run
    ],
)
def test_wide_images(backend: str, columns: int, factor: int, poisoned_memory: None) -> None:
    given = arguments((1, 2, 1, columns), factor)
    assert_agrees(run(OP, backend, *given), block_mean_bracket(*given))


@kernels
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("factor", 0),
        ("factor", -2),
        ("factor", 3),
        ("y", torch.zeros(2, 3, 8, 8)),
        ("y", torch.zeros(1, 3, 4, 4)),
        ("y", torch.zeros(2, 3, 4)),
        ("y", torch.zeros(2, 3, 4, 4, dtype=torch.float64)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, argument: str, wrong: Tensor | int) -> None:
    assert_refused(OP, backend, arguments((2, 3, 4, 4), 2), argument, wrong)
