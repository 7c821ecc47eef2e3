"""The fast Walsh-Hadamard transform against the dense Hadamard matrix."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor

from tests.ops import helpers
from tests.ops.helpers import INTERPRETED, everywhere, kernels
from vml_fast.errors import InputError
from vml_fast.ops.fwht import fwht

NAME = "fwht"
LENGTHS = [1, 2, 4, 8, 16, 32, 64, 256, 1024]
LONG = [4096, 8192, 65536, 2**17]


@pytest.mark.parametrize("n", LENGTHS)
def test_reference_is_the_sylvester_matrix(n: int) -> None:
    x = torch.randn(3, n, dtype=torch.float64)
    matrix = torch.from_numpy(hadamard(n)).double() / math.sqrt(n)
    assert torch.allclose(fwht(x), x @ matrix, atol=1e-12)


def test_flat_transform_of_an_image_is_two_small_ones() -> None:
    x = torch.randn(4, 8, dtype=torch.float64)
    rows, columns = (torch.from_numpy(hadamard(n)).double() / math.sqrt(n) for n in x.shape)
    assert torch.allclose(fwht(x.flatten()).view(4, 8), rows @ x @ columns, atol=1e-12)


@kernels
@pytest.mark.parametrize("n", LENGTHS if INTERPRETED else LENGTHS + LONG)
def test_lengths(backend: str, n: int, poisoned_memory: None) -> None:
    helpers.assert_backend_agrees(NAME, backend, (torch.randn(3, n),))


@kernels
@pytest.mark.parametrize("shape", [(16,), (0, 8), (2, 3, 4), (2, 3, 4, 32)])
def test_shapes(backend: str, shape: tuple[int, ...], poisoned_memory: None) -> None:
    helpers.assert_backend_agrees(NAME, backend, (torch.randn(shape),))


@kernels
def test_strides(backend: str) -> None:
    helpers.assert_backend_agrees(NAME, backend, (torch.randn(32, 3).T,))
    helpers.assert_backend_agrees(NAME, backend, (torch.randn(3, 64)[:, ::2],))
    helpers.assert_backend_agrees(NAME, backend, (torch.randn(1, 1).expand(2, 64),))


@everywhere
def test_it_is_its_own_inverse(backend: str) -> None:
    x = torch.randn(2, 512)
    (once,) = helpers.run(NAME, backend, x)
    (twice,) = helpers.run(NAME, backend, once)
    assert helpers.relative_max_error(twice, x) <= helpers.FLOAT32_TOLERANCE


def test_the_reference_refuses_other_lengths() -> None:
    for shape in ((2, 0), (2, 12), ()):
        with pytest.raises(InputError, match="powers of two"):
            fwht(torch.zeros(shape))


@kernels
@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, 12),
        torch.zeros(2, 0),
        torch.zeros(()),
        torch.zeros(2, 8, dtype=torch.float64),
        torch.zeros(2, 8, dtype=torch.bfloat16),
    ],
)
def test_wrong_arguments_are_refused(backend: str, wrong: Tensor) -> None:
    helpers.assert_refused(NAME, backend, (torch.zeros(2, 8),), "x", wrong)


@kernels
def test_opcheck(backend: str) -> None:
    helpers.opcheck(NAME, backend, (torch.randn(3, 32),))
    helpers.opcheck(NAME, backend, (torch.randn(32, 3).T,))
