"""Operators given as functions, compositions, and conjugate gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.operators.problems import (
    TAPS,
    assert_close,
    dense,
    images,
    measurements,
    random_matrix,
)
from vml_fast.errors import InputError
from vml_fast.operators import (
    CircularBlur,
    Inpainting,
    LinearMap,
    LinearOperator,
    SeparableBlur,
    SuperResolution,
    box_mask,
    conjugate_gradient,
)

SHAPE = (2, 3, 4)


def _numpy_difference(x: Tensor) -> Tensor:
    return torch.from_numpy(np.diff(x.detach().numpy(), axis=-1))


def _numpy_difference_t(y: Tensor) -> Tensor:
    padded = np.pad(y.detach().numpy(), ((0, 0), (0, 0), (0, 0), (1, 1)))
    return torch.from_numpy(-np.diff(padded, axis=-1))


def test_a_function_outside_torch_is_differentiable() -> None:
    H = LinearMap(_numpy_difference, SHAPE, _numpy_difference_t)
    assert H.measurement_shape == (2, 3, 3)
    x, w = images(H).requires_grad_(), measurements(H)
    (gradient,) = torch.autograd.grad(H(x), x, w)
    assert_close(gradient, (w.flatten(1) @ dense(H)).view_as(x))


def test_second_derivatives_pass() -> None:
    """∂/∂x of |∂/∂x |Hx|²/2|²/2 = (HᵀH)² x."""
    for adjoint in (None, lambda y: torch.nn.functional.pad(y, (0, 1))):
        H = LinearMap(lambda x: x[..., :-1], SHAPE, adjoint)
        x = images(H).requires_grad_()
        first = torch.autograd.grad(H(x).square().sum() / 2, x, create_graph=True)[0]
        second = torch.autograd.grad(first.square().sum() / 2, x)[0]
        normal = dense(H).T @ dense(H)
        assert_close(second, (x.detach().flatten(1) @ normal @ normal).view_as(x))


def test_autograd_adjoint_in_every_grad_mode() -> None:
    H = LinearMap(lambda x: x.roll(1, -1) * 2, SHAPE)
    y = measurements(H)
    expected = (y * 2).roll(-1, -1)
    assert_close(H.adjoint(y), expected)
    with torch.no_grad():
        assert_close(H.adjoint(y), expected)
    with torch.inference_mode():
        assert_close(H.adjoint(H(images(H)) * 0 + y), expected)


def test_tensors_cached_in_inference_mode_serve_autograd() -> None:
    H = SeparableBlur(SHAPE, TAPS)
    with torch.inference_mode():
        H(images(H, 2, torch.float32))
    x = images(H, 2, torch.float32).requires_grad_()
    assert torch.autograd.grad(H(x).sum(), x)[0].shape == x.shape


@pytest.mark.parametrize(
    ("forward", "adjoint", "message"),
    [
        (lambda x: x + 1, None, "not linear"),
        (lambda x: x.abs(), None, "not linear"),
        (lambda x: x, lambda y: 2 * y, "not the transpose"),
        (lambda x: x.roll(1, -1), lambda y: y.roll(1, -1), "not the transpose"),
        (lambda x: x[..., 1:], lambda y: y, "adjoint of LinearMap returned"),
        (lambda x: x.detach() * 2, None, "not differentiable"),
        (lambda x: x.sum(), None, r"returned \(\)"),
        (lambda x: x.mean(0, keepdim=True), None, r"returned \(1, 2, 3, 4\)"),
        (lambda x: x.numpy(), None, "returned ndarray"),
        (lambda x: x / 0, None, "finite"),
        (lambda x: x.half(), None, "float16"),
        (3, None, "forward is a int"),
        (lambda x: x, 3, "adjoint is a int"),
    ],
)
def test_a_function_that_cannot_be_used(forward: object, adjoint: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearMap(forward, SHAPE, adjoint)  # type: ignore[arg-type]


def test_without_an_svd_every_method_says_what_works() -> None:
    H = LinearMap(lambda x: 2 * x, SHAPE)
    x = images(H)
    calls = {
        "singular_values": (),
        "spectral_singular_values": (),
        "retained": (),
        "spectral_retained": (),
        "rank": (),
        "dropped_fraction": (),
        "vt": (x,),
        "v": (x.flatten(1),),
        "ut": (x,),
        "u": (x.flatten(1),),
        "spectral": (x,),
        "spatial": (x,),
        "spectral_measurement": (x,),
    }
    for method, arguments in calls.items():
        with pytest.raises(InputError, match=rf"no SVD, so {method}\(\).*pseudo_inverse.*work"):
            getattr(H, method)(*arguments)


def test_composition_is_the_product() -> None:
    blur, small = SeparableBlur((3, 4, 8), TAPS), SuperResolution((3, 4, 8), 2)
    H = small @ blur
    assert_close(dense(H), dense(small) @ dense(blur))
    assert_close(H(images(H)), small(blur(images(H))))
    y = measurements(H)
    expected = torch.linalg.lstsq(dense(H), y.flatten(1).T, driver="gelsd").solution.T
    assert_close(H.pseudo_inverse(y).flatten(1), expected, 1e-8)


def test_composition_is_associative() -> None:
    a = Inpainting((3, 2, 4), box_mask((3, 2, 4), 0.5))
    b, c = SuperResolution((3, 4, 8), 2), CircularBlur((3, 4, 8), torch.rand(2, 3))
    x = images(c)
    assert_close((a @ b @ c)(x), (a @ (b @ c))(x))


def test_composition_of_shapes_that_do_not_meet() -> None:
    with pytest.raises(InputError, match=r"\(3, 4, 8\).*Sup.*before it measures \(3, 2, 4\)"):
        SeparableBlur((3, 4, 8), TAPS) @ SuperResolution((3, 4, 8), 2)
    with pytest.raises(TypeError):
        SuperResolution((3, 4, 8), 2) @ torch.ones(3)


def _spd(batch: int, size: int, condition: float) -> Tensor:
    q = torch.linalg.qr(torch.randn(batch, size, size, dtype=torch.float64)).Q
    values = torch.logspace(0, -np.log10(condition), size, dtype=torch.float64)
    return q @ torch.diag(values) @ q.mT


@pytest.mark.parametrize("early_exit", [True, False])
def test_conjugate_gradients_solve(early_exit: bool) -> None:
    a, b = _spd(3, 12, 100.0), torch.randn(3, 12, dtype=torch.float64)
    x = conjugate_gradient(
        lambda v: (a @ v[..., None])[..., 0], b, tol=1e-12, max_iter=60, early_exit=early_exit
    )
    assert_close(x, torch.linalg.solve(a, b))


def test_least_squares_by_conjugate_gradients() -> None:
    """Against lstsq for more and for fewer rows than columns: the least-norm solution."""
    for rows in (8, 30):
        a = random_matrix(rows, 12)
        b = torch.randn(4, rows, dtype=torch.float64)
        x = conjugate_gradient(lambda v, a=a: v @ (a.T @ a), b @ a, tol=1e-14, max_iter=100)
        assert_close(x, torch.linalg.lstsq(a, b.T, driver="gelsd").solution.T, 1e-8)


def test_each_sample_stops_on_its_own() -> None:
    """What a sample becomes does not depend on its neighbors, bit by bit."""
    a = torch.stack([torch.eye(12, dtype=torch.float64), *_spd(2, 12, 1e3)])
    b = torch.randn(3, 12, dtype=torch.float64)
    b[0] *= 1e6

    def solve(part: slice, max_iter: int) -> Tensor:
        def apply(v: Tensor) -> Tensor:
            return (a[part] * v[:, None, :]).sum(-1)

        return conjugate_gradient(apply, b[part], tol=1e-6, max_iter=max_iter)

    for max_iter in (3, 50):
        whole = solve(slice(0, 3), max_iter)
        for i in range(3):
            assert torch.equal(solve(slice(i, i + 1), max_iter)[0], whole[i])


def test_the_tolerance_is_relative_and_the_cap_holds() -> None:
    a, b = _spd(1, 30, 1e4), torch.randn(1, 30, dtype=torch.float64)
    calls = 0

    def apply(v: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return (a @ v[..., None])[..., 0]

    for scale in (1e-6, 1e6):
        x = conjugate_gradient(apply, scale * b, tol=1e-3, max_iter=200)
        residual = float((apply(x) - scale * b).norm() / (scale * b).norm())
        assert 1e-5 < residual < 1.2e-3
    calls = 0
    conjugate_gradient(apply, b, tol=0.0, max_iter=7)
    assert calls == 7


def test_zero_and_singular_right_hand_sides() -> None:
    """b = 0 gives 0, and a right-hand side in the null space stops without a division by zero."""
    a = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))
    b = torch.tensor([[0.0, 0.0, 0.0], [1.0, 4.0, 0.0], [0.0, 0.0, 5.0]], dtype=torch.float64)
    x = conjugate_gradient(lambda v: v @ a, b, tol=1e-12, max_iter=20)
    assert_close(x, torch.tensor([[0, 0, 0], [1, 2, 0], [0, 0, 0]], dtype=torch.float64))


@pytest.mark.parametrize(("tol", "max_iter"), [(-1.0, 5), (1.0, 5), (float("nan"), 5), (0.1, 0)])
def test_conjugate_gradient_settings(tol: float, max_iter: int) -> None:
    with pytest.raises(InputError, match=r"(tol|max_iter) is"):
        conjugate_gradient(lambda v: v, torch.ones(1, 2), tol=tol, max_iter=max_iter)


def test_norm_of_a_dense_upper_end_is_not_underestimated() -> None:
    """A long difference filter: its spectrum crowds at 2, the hard case of power iteration."""
    H: LinearOperator = LinearMap(lambda x: x - x.roll(1, -1), (1, 1, 512))
    assert 2.0 <= H.norm() <= 2.05
