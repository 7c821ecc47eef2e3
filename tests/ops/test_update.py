"""The update of the state and of the network's next input, in place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.ops import helpers
from tests.ops.helpers import DEVICE, kernels
from vml_fast.ops import resolve
from vml_fast.ops.update import update

NAME = "update"


def arguments(shape: tuple[int, ...], dtype=torch.float32):
    x, v, gradient = (torch.randn(shape) for _ in range(3))
    u = torch.full(shape, float("nan"))
    return x, v, gradient.to(dtype), u.to(dtype), helpers.random_coefficients(shape[0], 2)


def updated(backend: str, arguments: helpers.Arguments) -> tuple[Tensor, Tensor]:
    """x and u after the op; the arguments keep their values."""
    moved = []
    for a in arguments:
        keep = torch.empty_strided(a.shape, a.stride(), dtype=a.dtype, device=DEVICE)
        moved.append(keep.copy_(a) if 0 not in a.stride() else a.to(DEVICE))
    assert resolve(NAME, backend, DEVICE)(*moved) is None
    return moved[0].cpu(), moved[3].cpu()


def test_reference_is_the_step_of_a_linear_network() -> None:
    """x + J^T v with D = c_skip x + c_out F(c_in x), F a matrix, J from autograd."""
    n, c_skip, c_out, c_in = 6, 0.3, 0.8, 1.7
    matrix = torch.randn(n, n, dtype=torch.float64)
    x = torch.randn(1, 1, 2, 3, dtype=torch.float64)
    v = torch.randn_like(x)

    def denoise(x: Tensor) -> Tensor:
        return c_skip * x + c_out * (matrix @ (c_in * x).flatten()).view(x.shape)

    _, vjp = torch.func.vjp(denoise, x)
    expected = x + vjp(v)[0]
    gradient = (matrix.T @ (c_out * v).flatten()).view(x.shape)
    u = torch.empty_like(x)
    update(x, v, gradient, u, torch.tensor([[c_skip, c_in]], dtype=torch.float64))
    assert torch.allclose(x, expected, atol=1e-12)
    assert torch.allclose(u, c_in * expected, atol=1e-12)


@kernels
@helpers.shapes
@pytest.mark.parametrize("layout", ["nchw", "channels_last", "padded", "transposed"])
def test_layouts_and_shapes(backend: str, shape, layout: str) -> None:
    given = helpers.placed(arguments(shape), layout)
    helpers.assert_agrees(updated(backend, given), updated("reference", given))


@kernels
def test_mixed_formats_and_shared_inputs(backend: str) -> None:
    x, v, gradient, u, c = arguments((2, 3, 20, 40))
    place = helpers.channels_last
    for given in (
        (x, v, place(gradient), place(u), c),
        (place(x), v, gradient, helpers.transposed(u), c[:1]),
        (x, helpers.shared(v), helpers.shared(gradient), u, c[:1].expand(2, 2)),
    ):
        helpers.assert_agrees(updated(backend, given), updated("reference", given))


@kernels
@pytest.mark.parametrize("of_gradient", helpers.NETWORK_DTYPES, ids=str)
@pytest.mark.parametrize("of_input", helpers.NETWORK_DTYPES, ids=str)
def test_network_dtypes(backend: str, of_gradient: torch.dtype, of_input: torch.dtype) -> None:
    x, v, gradient, u, c = arguments((2, 3, 17, 19))
    given = (x, v, gradient.to(of_gradient), u.to(of_input), c)
    exact = updated("reference", helpers.in_float64(given))
    for value, other, truth in zip(
        updated(backend, given), updated("reference", given), exact, strict=True
    ):
        limit = max(2 * helpers.relative_error(other, truth), helpers.FLOAT32_TOLERANCE)
        assert helpers.relative_error(value, truth) <= limit


@kernels
@pytest.mark.parametrize(
    ("position", "wrong"),
    [
        (0, torch.zeros(1, 3, 8, 8).expand(2, 3, 8, 8)),
        (1, torch.zeros(2, 3, 8, 9)),
        (2, torch.zeros(2, 3, 8, 8, dtype=torch.int32)),
        (3, torch.zeros(2, 3, 8, 1).expand(2, 3, 8, 8)),
        (4, torch.zeros(2, 5)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, position: int, wrong: Tensor) -> None:
    given = list(arguments((2, 3, 8, 8)))
    given[position] = wrong
    with pytest.raises((RuntimeError, ValueError)):
        resolve(NAME, backend, DEVICE)(*(a.to(DEVICE) for a in given))


def test_opcheck() -> None:
    x, v, gradient, u, c = arguments((2, 3, 6, 5), torch.bfloat16)
    helpers.opcheck(NAME, (x, v, gradient, u.zero_(), c))
