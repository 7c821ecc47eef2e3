"""D, and D - x, stacked for a batched transform."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.ops import helpers
from tests.ops.helpers import kernels
from vml_fast.ops.denoised_stack import denoised_stack

NAME = "denoised_stack"
priors = pytest.mark.parametrize("with_prior", [False, True])


def arguments(
    shape: tuple[int, ...], with_prior: bool, dtype: torch.dtype = torch.float32
) -> helpers.Arguments:
    raw, x = (torch.randn(shape) for _ in range(2))
    return raw.to(dtype), x, helpers.random_coefficients(shape[0]), with_prior


def test_reference_by_hand() -> None:
    raw, x = torch.full((1, 1, 1, 2), 3.0), torch.tensor([[[[1.0, -2.0]]]])
    c = torch.tensor([[0.5, 2.0, 9.0, 9.0, 9.0]])
    stack = denoised_stack(raw, x, c, True)
    assert stack.flatten().tolist() == [6.5, 5.0, 5.5, 7.0]
    assert torch.equal(denoised_stack(raw, x, c, False), stack[:1])


@kernels
@priors
@helpers.shapes
@helpers.layouts
def test_layouts_and_shapes(
    backend: str, with_prior: bool, shape: tuple[int, ...], layout: str, poisoned_memory: None
) -> None:
    given = helpers.placed(arguments(shape, with_prior), layout)
    helpers.assert_backend_agrees(NAME, backend, given)
    assert helpers.run(NAME, backend, *given)[0].is_contiguous()


@kernels
@helpers.network_dtypes
@helpers.network_formats
def test_network_dtypes(backend: str, dtype: torch.dtype, layout: str) -> None:
    given = helpers.placed(arguments((2, 3, 17, 19), True, dtype), layout)
    helpers.assert_backend_no_worse_than_torch(NAME, backend, given)


@kernels
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("raw", torch.zeros(2, 3, 8)),
        ("x", torch.zeros(2, 3, 8, 9)),
        ("x", torch.zeros(2, 3, 8, 8, dtype=torch.float64)),
        ("coefficients", torch.zeros(2, 4)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, argument: str, wrong: Tensor) -> None:
    helpers.assert_refused(NAME, backend, arguments((2, 3, 8, 8), True), argument, wrong)


@pytest.mark.gpu
@helpers.two_devices
@kernels
def test_tensors_on_two_devices_are_refused(backend: str) -> None:
    helpers.assert_refuses_mixed_devices(NAME, backend, arguments((2, 3, 8, 8), True))


@kernels
@priors
def test_opcheck(backend: str, with_prior: bool) -> None:
    helpers.opcheck(NAME, backend, arguments((2, 3, 6, 5), with_prior, torch.bfloat16))
