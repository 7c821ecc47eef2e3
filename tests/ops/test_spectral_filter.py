"""The point-wise middle of a bracket, real and complex, with every broadcast it allows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.ops import helpers
from tests.ops.helpers import kernels
from vml_fast.ops.spectral_filter import spectral_filter

NAME = "spectral_filter"
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
priors = pytest.mark.parametrize("with_prior", [False, True])

FULL = (2, 3, 5, 33)
BROADCASTS = [FULL, (1, 1, 5, 33), (2, 1, 5, 33), (2, 1, 1, 1), (1, 3, 5, 1), (1, 1, 1, 33)]


def arguments(shape=FULL, array=FULL, dtype=torch.float32, with_prior=True):
    z = torch.randn(2 if with_prior else 1, *shape, dtype=dtype)
    target = torch.randn(shape, dtype=dtype)
    s, alpha, beta = (torch.rand(array) for _ in range(3))
    s[s < 0.3] = 0.0
    return z, target, s, alpha, beta if with_prior else None


def test_reference_by_hand() -> None:
    z = torch.tensor([[2.0, 2.0], [10.0, 10.0]]).view(2, 1, 1, 1, 2)
    target, s = torch.tensor([5.0, 5.0]).view(1, 1, 1, 2), torch.tensor([0.5, 0.0]).view(1, 1, 1, 2)
    alpha = beta = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
    # 3 (5 - .5 2) + 3 10, and where s = 0 the prior part is left out: 4 (5 - 0)
    assert spectral_filter(z, target, s, alpha, beta).flatten().tolist() == [42.0, 20.0]
    assert spectral_filter(z[:1], target, s, alpha, None).flatten().tolist() == [12.0, 20.0]


@kernels
@dtypes
@priors
@pytest.mark.parametrize("array", BROADCASTS, ids=str)
def test_broadcasts(backend, dtype, with_prior, array, poisoned_memory: None) -> None:
    given = arguments(array=array, dtype=dtype, with_prior=with_prior)
    helpers.assert_backend_agrees(NAME, backend, given)


@kernels
@dtypes
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (0, 3, 4, 4), (2, 3, 3, 1100), (1, 4, 7, 2)])
def test_shapes(backend: str, dtype: torch.dtype, shape, poisoned_memory: None) -> None:
    given = arguments(shape, (1, *shape[1:]), dtype)
    helpers.assert_backend_agrees(NAME, backend, given)


@kernels
@dtypes
def test_strided_operands(backend: str, dtype: torch.dtype) -> None:
    z, target, s, alpha, beta = arguments(dtype=dtype)
    wide = torch.randn(2, 2, 3, 5, 66, dtype=dtype)[..., ::2].copy_(z)
    assert not wide.is_contiguous()
    given = (wide, target.mT.contiguous().mT, s.mT.contiguous().mT, alpha[:1, :1], beta)
    helpers.assert_backend_agrees(NAME, backend, given)
    given = (z, target[:1, :, :, :1].expand(FULL), s, alpha, beta)
    helpers.assert_backend_agrees(NAME, backend, given)


@kernels
@pytest.mark.parametrize(
    ("position", "wrong"),
    [
        (0, torch.zeros(1, *FULL)),
        (0, torch.zeros(2, *FULL, dtype=torch.float64)),
        (1, torch.zeros(FULL, dtype=torch.complex64)),
        (1, torch.zeros(2, 3, 5, 32)),
        (2, torch.zeros(2, 2, 5, 33)),
        (3, torch.zeros(2, 3, 5)),
        (4, None),
    ],
)
def test_wrong_arguments_are_refused(backend: str, position: int, wrong: Tensor | None) -> None:
    if backend == "triton" and wrong is None:
        pytest.skip("a second entry that is not used harms nobody")
    helpers.assert_refused(NAME, backend, arguments(), position, wrong)


@dtypes
@priors
def test_opcheck(dtype: torch.dtype, with_prior: bool) -> None:
    helpers.opcheck(NAME, arguments((2, 3, 4, 5), (1, 1, 4, 5), dtype, with_prior))
