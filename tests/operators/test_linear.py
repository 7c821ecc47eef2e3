"""What holds for every operator: H, its transpose and its derivatives are those of one matrix."""

from collections.abc import Callable

import pytest
import torch

from tests.operators.problems import (
    DTYPES,
    assert_close,
    dense,
    everything,
    images,
    measurements,
)
from vml_fast.operators import Composition, Inpainting, LinearOperator

OPERATORS = everything()
pytestmark = [
    pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS.keys()),
    pytest.mark.parametrize("dtype", DTYPES, ids=str),
]


def test_forward_is_the_dense_matrix(
    make: Callable[[], LinearOperator], dtype: torch.dtype
) -> None:
    H = make()
    x = images(H, 3, dtype)
    y = H(x)
    assert y.dtype == dtype and y.shape == (3, *H.measurement_shape)
    assert_close(y.flatten(1), (x.double().flatten(1) @ dense(H).T).to(dtype))


def test_adjoint_is_the_transposed_matrix(
    make: Callable[[], LinearOperator], dtype: torch.dtype
) -> None:
    H = make()
    y = measurements(H, 3, dtype)
    x = H.adjoint(y)
    assert x.dtype == dtype and x.shape == (3, *H.image_shape)
    assert_close(x.flatten(1), (y.double().flatten(1) @ dense(H)).to(dtype))


def test_derivatives(make: Callable[[], LinearOperator], dtype: torch.dtype) -> None:
    """Reverse mode gives the adjoint, forward mode H, and the adjoint's gradient is H."""
    H = make()
    x, y = images(H, 2, dtype).requires_grad_(), measurements(H, 2, dtype).requires_grad_()
    assert_close(torch.autograd.grad(H(x), x, y.detach())[0], H.adjoint(y).detach())
    assert_close(torch.autograd.grad(H.adjoint(y), y, x.detach())[0], H(x).detach())
    _, tangent = torch.func.jvp(H.forward, (x.detach(),), (x.detach(),))
    assert_close(tangent, H(x).detach())


def test_norm(make: Callable[[], LinearOperator], dtype: torch.dtype) -> None:
    H = make()
    exact = float(torch.linalg.matrix_norm(dense(H), 2))
    if H.has_svd:
        assert H.norm() == pytest.approx(exact, rel=1e-10)
    else:
        assert exact <= H.norm() <= 1.04 * exact


def test_pseudo_inverse(make: Callable[[], LinearOperator], dtype: torch.dtype) -> None:
    """H H⁺ H = H on the retained range, and H⁺ itself, against a dense SVD cut at rtol."""
    H = make()
    u, s, vt = torch.linalg.svd(dense(H), full_matrices=False)
    kept = s > H.rtol * s[0]
    # No singular value so near the threshold that rounding would decide.
    assert not bool(((s / s[0] - H.rtol).abs() < 1e-3 * H.rtol).any())
    x = images(H, 2, dtype)
    if not H.has_svd:  # conjugate gradients stop where the normal equations hold to 1e-6 or 1e-12
        limit = 1e-4 if dtype == torch.float32 else 1e-9
    else:
        limit = 1e-5 if dtype == torch.float32 else 1e-10
    cut = u @ torch.diag(s * kept) @ vt
    expected = (x.double().flatten(1) @ cut.T).to(dtype)
    assert_close(H(H.pseudo_inverse(H(x))).flatten(1), expected, limit)
    if dtype == torch.float64:
        inverse = vt.T @ torch.diag(torch.where(kept, 1 / s, 0.0)) @ u.T
        y = measurements(H)
        assert_close(H.pseudo_inverse(y).flatten(1), y.flatten(1) @ inverse.T, 1e-8)


def test_residual(make: Callable[[], LinearOperator], dtype: torch.dtype) -> None:
    H = make()
    x, y = images(H, 3, dtype), measurements(H, 3, dtype)
    error = (x.double().flatten(1) @ dense(H).T - y.double().flatten(1)).square()
    observed = torch.ones_like(error)
    last: LinearOperator = H
    while isinstance(last, Composition):
        last = last.outer
    if isinstance(last, Inpainting):
        mask = last.data["mask"].expand(last.image_shape).double()
        observed = mask.flatten().expand_as(error)
    expected = ((observed * error).sum(1) / observed.sum(1)).sqrt()
    assert_close(H.residual(x, y), expected.to(dtype))


def test_non_contiguous_and_empty_batches(
    make: Callable[[], LinearOperator], dtype: torch.dtype
) -> None:
    H = make()
    x, y = images(H, 4, dtype), measurements(H, 2, dtype)
    assert_close(H(x.to(memory_format=torch.channels_last)), H(x))
    assert_close(H(x[::2]), H(x)[::2])
    assert_close(H(x[:1].expand(3, -1, -1, -1)), H(x[:1]).expand(3, *[-1] * (y.ndim - 1)))
    assert H(x[:0]).shape == (0, *H.measurement_shape)
    assert H.adjoint(y[:0]).shape == (0, *H.image_shape)
    assert H.pseudo_inverse(y[:0]).shape == (0, *H.image_shape)


def test_arguments_are_left_alone(make: Callable[[], LinearOperator], dtype: torch.dtype) -> None:
    """No method writes to its argument, and a measurement does not share the image's memory."""
    H = make()
    x, y = images(H, 2, dtype), measurements(H, 2, dtype)
    before = x.clone(), y.clone()
    outputs = H(x), H.adjoint(y), H.pseudo_inverse(y)
    for output in outputs:
        output.add_(1)
    assert torch.equal(x, before[0]) and torch.equal(y, before[1])
