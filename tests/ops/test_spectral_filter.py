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


def arguments(
    shape: tuple[int, ...] = FULL,
    array: tuple[int, ...] = FULL,
    dtype: torch.dtype = torch.float32,
    with_prior: bool = True,
) -> tuple:
    """z of one shape, real arrays s, alpha, beta of another that broadcasts against it."""
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
def test_broadcasts(
    backend: str,
    dtype: torch.dtype,
    with_prior: bool,
    array: tuple[int, ...],
    poisoned_memory: None,
) -> None:
    given = arguments(array=array, dtype=dtype, with_prior=with_prior)
    helpers.assert_backend_agrees(NAME, backend, given)


@kernels
@dtypes
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1),  # a single element
        (0, 3, 4, 4),  # an empty batch
        (2, 3, 3, 1100),  # rows longer than one run
        (1, 4, 7, 2),  # rows shorter than a vector
    ],
)
def test_shapes(
    backend: str, dtype: torch.dtype, shape: tuple[int, ...], poisoned_memory: None
) -> None:
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
    ("argument", "wrong"),
    [
        ("z", torch.zeros(1, *FULL)),
        ("z", torch.zeros(2, *FULL, dtype=torch.float64)),
        ("target", torch.zeros(FULL, dtype=torch.complex64)),
        ("target", torch.zeros(2, 3, 5, 32)),
        ("s", torch.zeros(2, 2, 5, 33)),
        ("alpha", torch.zeros(2, 3, 5)),
        ("beta", None),
    ],
)
def test_wrong_arguments_are_refused(backend: str, argument: str, wrong: Tensor | None) -> None:
    if backend == "triton" and wrong is None:
        pytest.skip("a second entry that is not used harms nobody")
    helpers.assert_refused(NAME, backend, arguments(), argument, wrong)


@pytest.mark.gpu
@helpers.two_devices
@kernels
def test_tensors_on_two_devices_are_refused(backend: str) -> None:
    helpers.assert_refuses_mixed_devices(NAME, backend, arguments())


@kernels
@dtypes
@priors
def test_opcheck(backend: str, dtype: torch.dtype, with_prior: bool) -> None:
    helpers.opcheck(NAME, backend, arguments((2, 3, 4, 5), (1, 1, 4, 5), dtype, with_prior))
