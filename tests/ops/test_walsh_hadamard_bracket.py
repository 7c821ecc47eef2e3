"""The Walsh-Hadamard bracket: the reference against dense matrices, the kernels against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor

from tests.ops.brackets import BracketTests, assert_is_dense, dense_bracket
from tests.ops.helpers import (
    assert_agrees,
    assert_refused,
    in_float64,
    kernels,
    random_coefficients,
    run,
)
from vml_fast.ops.walsh_hadamard_bracket import walsh_hadamard_bracket

OP = "walsh_hadamard_bracket"


def next_power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def arguments(shape: tuple[int, ...], with_prior: bool = True) -> tuple:
    """Height and width are rounded up to powers of two."""
    b, c, h, w = shape[0], shape[1], *map(next_power_of_two, shape[2:])
    raw, x, target = (torch.randn(b, c, h, w) for _ in range(3))
    s = (torch.rand(1, 1, h, w) > 0.5).float()
    alpha, beta = torch.rand(b, 1, 1, 1), torch.randn(b, 1, 1, 1)
    prior = beta if with_prior else None
    return raw, x, s * target, s, alpha, prior, random_coefficients(b)


class TestWalshHadamardBracket(BracketTests):
    op = OP

    def arguments(self, shape: tuple[int, ...]) -> tuple:
        return arguments(shape)


@pytest.mark.parametrize("with_prior", [True, False])
def test_reference_is_the_spectral_form_of_a_dense_matrix(with_prior: bool) -> None:
    raw, x, _, s, alpha, beta, coefficients = in_float64(arguments((2, 1, 4, 8), with_prior))
    selected = s.flatten().bool().numpy()
    matrix = (hadamard(32) / np.sqrt(32))[selected]
    y = torch.randn(2, len(matrix)).double().numpy()
    target = np.zeros((2, 32))
    target[:, selected] = y
    placed = torch.from_numpy(target).view_as(x)
    outputs = walsh_hadamard_bracket(raw, x, placed, s, alpha, beta, coefficients)
    expected = []
    for i, (skip, out, scale, _, beta_null) in enumerate(coefficients.tolist()):
        extra = 0.0 if beta is None else beta[i].item()
        weights = (scale * alpha[i].item(), beta_null + scale * extra, beta_null)
        expected.append(dense_bracket(matrix, raw[i], x[i], y[i], (skip, out), weights))
    assert_is_dense(outputs, expected, coefficients)


@kernels
@pytest.mark.parametrize("with_prior", [True, False])
@pytest.mark.parametrize("sizes", [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_selections_per_sample_and_per_channel(
    backend: str, sizes: tuple[int, int], with_prior: bool, poisoned_memory: None
) -> None:
    raw, x, target, _, alpha, beta, coefficients = arguments((2, 3, 8, 16), with_prior)
    s = (torch.rand(*sizes, 8, 16) > 0.5).float()
    given = (raw, x, s * target, s, alpha, beta, coefficients)
    assert_agrees(run(OP, backend, *given), walsh_hadamard_bracket(*given))


@kernels
def test_images_longer_than_one_cached_transform(backend: str) -> None:
    given = arguments((1, 1, 128, 128))
    assert_agrees(run(OP, backend, *given), walsh_hadamard_bracket(*given))


@kernels
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("target", torch.zeros(2, 3, 8, 4)),
        ("target", torch.zeros(2, 3, 8, 8, dtype=torch.float64)),
        ("s", torch.zeros(1, 1, 4, 8)),
        ("alpha", torch.zeros(3, 1, 1, 1)),
        ("beta", torch.zeros(2, 2, 1, 1)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, argument: str, wrong: Tensor) -> None:
    assert_refused(OP, backend, arguments((2, 3, 8, 8)), argument, wrong)


@kernels
def test_images_that_are_no_power_of_two_are_refused(backend: str) -> None:
    raw, x, target = (torch.zeros(1, 1, 8, 6) for _ in range(3))
    one = torch.ones(1, 1, 1, 1)
    given = (raw, x, target, one.expand_as(x), one, None, random_coefficients(1))
    with pytest.raises((RuntimeError, ValueError), match=r"48.*powers of two"):
        run(OP, backend, *given)
