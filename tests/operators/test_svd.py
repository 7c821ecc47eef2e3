"""H = U Σ Vᵀ, in the flat and in the spectral layout."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.operators.problems import (
    DTYPES,
    MATRICES,
    SVD_OPERATORS,
    assert_close,
    dense,
    images,
    measurements,
    unit_images,
    unit_measurements,
)
from vml_fast.operators import SeparableOperator, SVDOperator

WITH_SVD: dict[str, Callable[[], SVDOperator]] = {**SVD_OPERATORS, **MATRICES}
complete = pytest.mark.parametrize("make", SVD_OPERATORS.values(), ids=SVD_OPERATORS.keys())
every = pytest.mark.parametrize("make", WITH_SVD.values(), ids=WITH_SVD.keys())
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def _factors(H: SVDOperator, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """U (m, m), Σ (m, n) and V (n, n) from applying u and v to unit vectors."""
    m, n = H.measurement_size, H.image_size
    u = H.u(torch.eye(m, dtype=dtype)).flatten(1).T
    v = H.v(torch.eye(n, dtype=dtype)).flatten(1).T
    s = H.singular_values(u)
    assert s.shape == (n,) and s.dtype == dtype
    sigma = torch.zeros(m, n, dtype=dtype)
    sigma.fill_diagonal_(1.0)
    return u, sigma * s, v


@complete
@both_dtypes
def test_factors_multiply_to_h(make: Callable[[], SVDOperator], dtype: torch.dtype) -> None:
    H = make()
    u, sigma, v = _factors(H, dtype)
    assert_close(u @ sigma @ v.T, dense(H).to(dtype))


@complete
@both_dtypes
def test_factors_are_orthonormal(make: Callable[[], SVDOperator], dtype: torch.dtype) -> None:
    H = make()
    u, _, v = _factors(H, dtype)
    assert_close(u.T @ u, torch.eye(H.measurement_size, dtype=dtype))
    assert_close(v.T @ v, torch.eye(H.image_size, dtype=dtype))
    assert_close(H.ut(unit_measurements(H, dtype)), u)
    assert_close(H.vt(unit_images(H, dtype)), v)


@every
def test_singular_values(make: Callable[[], SVDOperator]) -> None:
    """Against a dense SVD: the values, zeros behind the first min(m, n), rank, dropped share."""
    H = make()
    s = H.singular_values()
    exact = torch.linalg.svdvals(dense(H))
    k = min(H.measurement_size, H.image_size)
    assert s.dtype == torch.float64
    assert bool((s[k:] == 0).all())
    assert_close(s[:k].sort(descending=True).values, exact)
    kept = exact > H.rtol * exact[0]
    assert H.rank() == int(kept.sum())
    assert torch.equal(H.retained(), s > H.rtol * s.max())
    positive = int((s > 0).sum())
    assert H.dropped_fraction() == pytest.approx((positive - int(kept.sum())) / positive)


def test_dropped_fraction_of_a_wide_blur() -> None:
    """The case that is there to have something to drop: a fair part, but not most."""
    H = SVD_OPERATORS["separable blur, singular values dropped"]()
    assert 0.1 < H.dropped_fraction() < 0.6


@every
@both_dtypes
def test_spectral_filter(make: Callable[[], SVDOperator], dtype: torch.dtype) -> None:
    """(HᵀH + c)⁻¹ x as a filter in the spectral layout, against a dense solve."""
    H, c = make(), 0.3
    x = images(H, 3, dtype)
    s = H.spectral_singular_values(x)
    assert s.dtype == dtype
    z = H.spectral(x)
    assert z.shape == (3, *H.spectral_shape)
    filtered = H.spatial(z / (s.square() + c))
    if not H.complete:
        filtered = filtered + (x - H.spatial(z)) / c
    matrix = dense(H)
    normal = matrix.T @ matrix + c * torch.eye(H.image_size, dtype=torch.float64)
    expected = torch.linalg.solve(normal, x.double().flatten(1).T).T
    assert_close(filtered.flatten(1), expected.to(dtype))


@every
@both_dtypes
def test_spectral_measurement(make: Callable[[], SVDOperator], dtype: torch.dtype) -> None:
    """Uᵀ H x = Σ Vᵀ x place by place, and V Σ Uᵀ y = Hᵀ y."""
    H = make()
    x, y = images(H, 2, dtype), measurements(H, 2, dtype)
    s = H.spectral_singular_values(x)
    assert_close(H.spectral_measurement(H(x)), s * H.spectral(x))
    assert_close(H.spatial(s * H.spectral_measurement(y)), H.adjoint(y))


@complete
def test_layouts_agree(make: Callable[[], SVDOperator]) -> None:
    """A filter of the singular values does the same in both layouts, retained or not."""
    H = make()
    x = images(H)
    flat = H.v(H.vt(x) * H.retained(x) * H.singular_values(x).exp())
    spectral = H.spatial(
        H.spectral(x) * H.spectral_retained(x) * H.spectral_singular_values(x).exp()
    )
    assert_close(flat, spectral)
    assert_close(H.spatial(H.spectral(x)), x)


@every
def test_complete_says_whether_v_spans_everything(make: Callable[[], SVDOperator]) -> None:
    H = make()
    x = images(H)
    gap = float((H.spatial(H.spectral(x)) - x).abs().max())
    assert (gap < 1e-10) == H.complete


@pytest.mark.parametrize("name", ["bicubic, non-square", "separable blur, two kernels"])
def test_right_factors(name: str) -> None:
    """V_rᵀ X V_c with the stored factors is the corner of the spectral layout that is not null."""
    H = SVD_OPERATORS[name]()
    assert isinstance(H, SeparableOperator)
    x = images(H)
    _, rows, columns = H.measurement_shape
    v_rows, v_columns = H.right_factors(x)
    assert_close(v_rows.T @ x @ v_columns, H.spectral(x)[..., :rows, :columns])


class _Stretched(SVDOperator):
    """The smallest subclass: only the required hooks; m > n through two unobserved zeros."""

    def __init__(self) -> None:
        super().__init__((1, 2, 2), (6,))
        self.spectral_shape = (1, 2, 2)

    def _arguments(self) -> dict[str, object]:
        return {}

    def _spectral(self, x: Tensor) -> Tensor:
        return x.flip(-1)

    def _spatial(self, z: Tensor) -> Tensor:
        return z.flip(-1)

    def _derive_spectral_values(self) -> Tensor:
        return torch.tensor([[[3.0, 2.0], [1.0, 0.5]]], dtype=torch.float64)


def test_defaults_of_the_interface() -> None:
    """Forward, adjoint and pseudo-inverse come from the SVD where a subclass has no better way."""
    H = _Stretched()
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=torch.float64)
    y = torch.tensor([[6.0, 2.0, 4.0, 1.5, 0.0, 0.0]], dtype=torch.float64)
    assert_close(H(x), y)
    assert_close(H.pseudo_inverse(y), x)
    assert_close(H.adjoint(y), H.spatial(H.spectral_singular_values() * y[:, :4].view(1, 1, 2, 2)))
    assert H.norm() == 3.0
