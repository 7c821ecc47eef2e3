"""The update of the state and of the network's next input, in place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.ops import helpers
from tests.ops.helpers import DEVICES, everywhere, kernels
from vml_fast.ops import resolve
from vml_fast.ops.update import update

NAME = "update"


def arguments(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    x, v, gradient = (torch.randn(shape) for _ in range(3))
    u = torch.full(shape, float("nan"))
    return x, v, gradient.to(dtype), u.to(dtype), helpers.random_coefficients(shape[0], 2)


def updated(backend: str, arguments: helpers.Arguments) -> tuple[Tensor, Tensor]:
    """x and u after the op; the arguments keep their values."""
    x, v, gradient, u, c = helpers.on_device(backend, *arguments)
    x, u = _same_strides(x), _same_strides(u)
    assert resolve(NAME, backend, DEVICES[backend])(x, v, gradient, u, c) is None
    return x.cpu(), u.cpu()


def _same_strides(t: Tensor) -> Tensor:
    copy = torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=t.device)
    return copy.copy_(t)


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
def test_layouts_and_shapes(backend: str, shape: tuple[int, ...], layout: str) -> None:
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
        limit = max(2 * helpers.relative_max_error(other, truth), helpers.FLOAT32_TOLERANCE)
        assert helpers.relative_max_error(value, truth) <= limit


@everywhere
def test_nothing_beside_the_views_is_written(backend: str) -> None:
    """x and u are every second column of larger images, whose other columns stay.

    An element's value does not depend on where it lies either.
    """
    x, v, gradient, u, c = arguments((2, 3, 6, 10))
    x, v, gradient, u = helpers.on_device(backend, x, v, gradient, u)
    (c,) = helpers.on_device(backend, c)
    wide_x, wide_u = (torch.full((2, 3, 6, 20), 7.0, device=x.device) for _ in range(2))
    wide_x[..., ::2] = x
    call = resolve(NAME, backend, DEVICES[backend])
    call(wide_x[..., ::2], v, gradient, wide_u[..., ::2], c)
    call(x, v, gradient, u, c)
    for wide, dense in ((wide_x, x), (wide_u, u)):
        assert torch.equal(wide[..., ::2], dense)
        assert (wide[..., 1::2] == 7.0).all()


@kernels
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("x", torch.zeros(1, 3, 8, 8).expand(2, 3, 8, 8)),  # one element for two samples
        ("x", torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16)),
        ("v", torch.zeros(2, 3, 8, 9)),
        ("v", torch.zeros(2, 3, 8, 8, dtype=torch.float64)),
        ("gradient", torch.zeros(2, 3, 8, 8, dtype=torch.int32)),
        ("gradient", torch.zeros(1, 3, 8, 8)),
        ("u", torch.zeros(2, 3, 8, 1).expand(2, 3, 8, 8)),
        ("u", torch.zeros(2, 3, 8)),
        ("coefficients", torch.zeros(2, 5)),
        ("coefficients", torch.zeros(3, 2)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, argument: str, wrong: Tensor) -> None:
    helpers.assert_refused(NAME, backend, arguments((2, 3, 8, 8)), argument, wrong)


@pytest.mark.gpu
@helpers.two_devices
@kernels
def test_tensors_on_two_devices_are_refused(backend: str) -> None:
    helpers.assert_refuses_mixed_devices(NAME, backend, arguments((2, 3, 8, 8)))


@kernels
def test_opcheck(backend: str) -> None:
    x, v, gradient, u, c = arguments((2, 3, 6, 5), torch.bfloat16)
    helpers.opcheck(NAME, backend, (x, v, gradient, u.zero_(), c))
