"""Structure and data: the same computation on other tensors, and copies into fixed memory."""

from collections.abc import Callable

import pytest
import torch

from tests.operators.problems import (
    TAPS,
    assert_close,
    asymmetric_kernel,
    everything,
    images,
    measurements,
    random_matrix,
    sparse_matrix,
)
from vml_fast.errors import InputError
from vml_fast.operators import (
    BicubicSuperResolution,
    CircularBlur,
    Denoising,
    Inpainting,
    LinearOperator,
    MatrixOperator,
    SeparableBlur,
    SuperResolution,
    SVDOperator,
    WalshHadamard,
    random_mask,
)

OPERATORS = everything()
SHAPE = (2, 4, 8)
Pair = tuple[Callable[[], LinearOperator], dict[str, object], Callable[[], LinearOperator]]

SPARSE = sparse_matrix(20, 64)
OTHER_SPARSE = SPARSE.copy()
OTHER_SPARSE.data = OTHER_SPARSE.data[::-1] - 2

PAIRS: dict[str, Pair] = {
    "inpainting": (
        lambda: Inpainting(SHAPE, random_mask(SHAPE, 0.5, 0)),
        {"mask": random_mask(SHAPE, 0.3, 1)},
        lambda: Inpainting(SHAPE, random_mask(SHAPE, 0.3, 1)),
    ),
    "circular blur": (
        lambda: CircularBlur(SHAPE, asymmetric_kernel(3, 3)),
        {"kernel": asymmetric_kernel(3, 3).T * 30},
        lambda: CircularBlur(SHAPE, asymmetric_kernel(3, 3).T * 30),
    ),
    "separable blur": (
        lambda: SeparableBlur(SHAPE, TAPS),
        {"kernel_columns": [0.1, 0.2, 0.4, 0.2, 0.1]},
        lambda: SeparableBlur(SHAPE, TAPS, [0.1, 0.2, 0.4, 0.2, 0.1]),
    ),
    "Walsh-Hadamard": (
        lambda: WalshHadamard(SHAPE, 0.3, 0),
        {"selection": WalshHadamard(SHAPE, 0.3, 1).data["selection"]},
        lambda: WalshHadamard(SHAPE, 0.3, 1),
    ),
    "matrix": (
        lambda: MatrixOperator(random_matrix(20, 64), SHAPE),
        {"matrix": random_matrix(20, 64).flip(0) * 3},
        lambda: MatrixOperator(random_matrix(20, 64).flip(0) * 3, SHAPE),
    ),
    "sparse matrix": (
        lambda: MatrixOperator(SPARSE, SHAPE),
        {"matrix": OTHER_SPARSE},
        lambda: MatrixOperator(OTHER_SPARSE, SHAPE),
    ),
    "composition": (
        lambda: SuperResolution(SHAPE, 2) @ CircularBlur(SHAPE, asymmetric_kernel(3, 3)),
        {"inner.kernel": asymmetric_kernel(3, 3).T * 30},
        lambda: SuperResolution(SHAPE, 2) @ CircularBlur(SHAPE, asymmetric_kernel(3, 3).T * 30),
    ),
}
pairs = pytest.mark.parametrize(("first", "new", "second"), PAIRS.values(), ids=PAIRS.keys())


def _results(H: LinearOperator) -> list[torch.Tensor]:
    """Everything that a solver may read, in both dtypes."""
    results = []
    for dtype in (torch.float32, torch.float64):
        x, y = images(H, 2, dtype), measurements(H, 2, dtype)
        results += [H(x), H.adjoint(y), H.residual(x, y)]
        if isinstance(H, SVDOperator) and H.has_svd:
            results += [H.pseudo_inverse(y), H.spatial(H.spectral(x)), H.spectral_measurement(y)]
            results += [H.spectral_singular_values(x), H.spectral_retained(x).to(dtype)]
            results.append(H.singular_values(x))
    return results


@pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS.keys())
def test_structure_is_hashable_and_repeats(make: Callable[[], LinearOperator]) -> None:
    assert hash(make().structure) == hash(make().structure) or "Linear" in repr(make())
    H = make()
    assert H.structure == H.structure == H.static_copy().structure
    assert H.with_data().structure == H.structure
    assert_close(H.with_data()(images(H)), H(images(H)))


def test_structures_differ_where_the_computation_does() -> None:
    operators = [
        Denoising((3, 8, 8)),
        Denoising((1, 8, 8)),
        Denoising((3, 8, 8), rtol=0.1),
        SuperResolution((3, 8, 8), 2),
        BicubicSuperResolution((3, 8, 8), 2),
        SuperResolution((3, 8, 8), 4),
        Inpainting((3, 8, 8), torch.ones(1, 8, 8)),
        Inpainting((3, 8, 8), torch.ones(3, 8, 8)),
        Inpainting((3, 8, 8), torch.ones(2, 3, 8, 8)),
        CircularBlur((3, 8, 8), asymmetric_kernel(3, 3)),
        CircularBlur((3, 8, 8), asymmetric_kernel(3, 4)),
        MatrixOperator(random_matrix(64, 192), (3, 8, 8)),
        MatrixOperator(random_matrix(64, 192), (3, 8, 8), rank=5),
        MatrixOperator(random_matrix(64, 64), (3, 8, 8)),
        SuperResolution((3, 8, 8), 2) @ Denoising((3, 8, 8)),
    ]
    assert len({H.structure for H in operators}) == len(operators)


@pairs
def test_with_data(
    first: Callable[[], LinearOperator],
    new: dict[str, object],
    second: Callable[[], LinearOperator],
) -> None:
    H = first()
    before = _results(H)
    other = H.with_data(**new)
    assert other.structure == H.structure == second().structure
    for actual, expected in zip(_results(other), _results(second()), strict=True):
        assert torch.equal(actual, expected)
    for actual, expected in zip(_results(H), before, strict=True):
        assert torch.equal(actual, expected)


@pairs
def test_copy_into_fixed_memory(
    first: Callable[[], LinearOperator],
    new: dict[str, object],
    second: Callable[[], LinearOperator],
) -> None:
    """After copy_ the static copy computes with the other's numbers from the memory it had."""
    original, other = first(), second()
    static = original.static_copy()
    for actual, expected in zip(_results(static), _results(original), strict=True):
        assert torch.equal(actual, expected)
    parts = [static] if not hasattr(static, "outer") else [static.outer, static.inner]
    addresses = [{k: t.data_ptr() for k, t in part._casts.items()} for part in parts]
    norm, originally = static.norm(), _results(original)
    assert static.copy_(other) is static
    for part, before in zip(parts, addresses, strict=True):
        assert {key: part._casts[key].data_ptr() for key in before} == before
    for actual, expected in zip(_results(static), _results(other), strict=True):
        assert torch.equal(actual, expected)
    assert static.norm() == other.norm() and (static.norm() == norm) == (norm == other.norm())
    # Neither the operator that was copied nor the user's tensors were written to.
    for actual, expected in zip(_results(original), originally, strict=True):
        assert torch.equal(actual, expected)
    for name, tensor in second().data.items():
        assert torch.equal(other.data[name], tensor)


def test_copy_is_refused_where_it_cannot_work() -> None:
    H = Inpainting(SHAPE, torch.ones(1, 4, 8))
    with pytest.raises(InputError, match="no static_copy"):
        H.copy_(H)
    with pytest.raises(InputError, match="structure"):
        H.static_copy().copy_(Inpainting(SHAPE, torch.ones(2, 4, 8)))
    composed = SuperResolution(SHAPE, 2) @ Denoising(SHAPE)
    with pytest.raises(InputError, match="structure"):
        composed.static_copy().copy_(SuperResolution(SHAPE, 4) @ Denoising(SHAPE))


def test_new_data_must_fit() -> None:
    H = Inpainting(SHAPE, torch.ones(1, 4, 8))
    with pytest.raises(InputError, match="structure"):
        H.with_data(mask=torch.ones(2, 4, 8))
    with pytest.raises(InputError, match="no data named 'kernel'; has: mask"):
        H.with_data(kernel=torch.ones(1))
    with pytest.raises(InputError, match="hides every entry"):
        H.with_data(mask=torch.zeros(1, 4, 8))
    with pytest.raises(InputError, match="no data named 'factor'; has: none"):
        SuperResolution(SHAPE, 2).with_data(factor=4)
    composed = SuperResolution(SHAPE, 2) @ H
    with pytest.raises(InputError, match=r"no data named 'mask'; has: \['inner.mask'\]"):
        composed.with_data(mask=torch.ones(1, 4, 8))


def test_data_are_read_only_views() -> None:
    H = Inpainting(SHAPE, torch.ones(1, 4, 8))
    with pytest.raises(TypeError):
        H.data["mask"] = torch.zeros(1, 4, 8)  # type: ignore[index]
