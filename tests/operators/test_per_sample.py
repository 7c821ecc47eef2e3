"""Per-sample masks and kernels: a batch gives what its images give one by one."""

from collections.abc import Callable

import pytest
import torch

from tests.operators.problems import (
    DTYPES,
    assert_close,
    asymmetric_kernel,
    images,
    measurements,
)
from vml_fast.errors import InputError
from vml_fast.operators import (
    CircularBlur,
    Inpainting,
    LinearOperator,
    SuperResolution,
    SVDOperator,
)

SHAPE = (3, 6, 8)


def _masks(channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, channels, *SHAPE[1:], generator=generator) < 0.5


def _kernels(channels: int) -> torch.Tensor:
    # Of very different strength: a threshold that was shared would drop the weak ones.
    strength = torch.tensor([1.0, 1e-5, 30.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    base = torch.stack([asymmetric_kernel(3, 4), asymmetric_kernel(4, 3).T, torch.eye(3, 4) / 9])
    base[:, 1, 1] += 2  # outweighs the other taps, so that no singular value is near zero
    return strength * base[:, None].expand(3, channels, 3, 4).clone()


CASES: dict[str, Callable[[], LinearOperator]] = {
    "masks": lambda: Inpainting(SHAPE, _masks(1)),
    "masks per channel": lambda: Inpainting(SHAPE, _masks(3)),
    "kernels": lambda: CircularBlur(SHAPE, _kernels(1)),
    "kernels per channel": lambda: CircularBlur(SHAPE, _kernels(3)),
    "composition": lambda: SuperResolution(SHAPE, 2) @ CircularBlur(SHAPE, _kernels(1)),
    "composition of two": lambda: Inpainting(SHAPE, _masks(1)) @ CircularBlur(SHAPE, _kernels(3)),
}
cases = pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())


@cases
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_batch_is_its_images_one_by_one(
    make: Callable[[], LinearOperator], dtype: torch.dtype
) -> None:
    H = make()
    x, y = images(H, 3, dtype), measurements(H, 3, dtype)
    whole = [H(x), H.adjoint(y), H.residual(x, y)]
    if H.has_svd or dtype == torch.float64:
        whole.append(H.pseudo_inverse(y))
    if isinstance(H, SVDOperator):
        whole += [H.vt(x), H.spectral_measurement(y), H.singular_values(x)]
    for i in range(3):
        alone, part = H.select(slice(i, i + 1)), slice(i, i + 1)
        single = [alone(x[part]), alone.adjoint(y[part]), alone.residual(x[part], y[part])]
        if H.has_svd or dtype == torch.float64:
            single.append(alone.pseudo_inverse(y[part]))
        if isinstance(alone, SVDOperator):
            single += [alone.vt(x[part]), alone.spectral_measurement(y[part])]
            single.append(alone.singular_values(x[part]))
        for batched, lone in zip(whole, single, strict=True):
            assert_close(batched[part], lone)


@pytest.mark.parametrize("name", [name for name in CASES if "composition" not in name])
def test_a_sample_alone_is_the_operator_with_its_data(name: str) -> None:
    """Select is checked against operators that were made without a batch."""
    H = CASES[name]()
    assert isinstance(H, (Inpainting, CircularBlur))
    name = next(iter(H.data))
    x = images(H, 3)
    for i in range(3):
        alone = type(H)(H.image_shape, H.data[name][i])
        assert alone.batch_size is None
        assert_close(alone(x[i : i + 1]), H(x)[i : i + 1])
        assert alone.rank() == H.select(torch.tensor([i])).rank()
        assert_close(alone.singular_values(), H.singular_values()[i])
    assert H.norm() == pytest.approx(
        max(type(H)(H.image_shape, H.data[name][i]).norm() for i in range(3))
    )


def test_rank_and_threshold_are_per_sample() -> None:
    H = CircularBlur(SHAPE, _kernels(1))
    assert bool(H.retained().all())
    assert H.singular_values().shape == (3, 144)
    x = images(H, 3)
    assert_close(H.pseudo_inverse(H(x)), x)


@cases
def test_another_batch_size_is_refused(make: Callable[[], LinearOperator]) -> None:
    H = make()
    with pytest.raises(InputError, match=r"2 samples.*per sample for 3"):
        H(images(H, 2))
    with pytest.raises(InputError, match=r"4 samples.*per sample for 3"):
        H.adjoint(measurements(H, 4))


def test_a_batch_of_one_serves_any_batch() -> None:
    H = Inpainting(SHAPE, _masks(1)[:1])
    x = images(H, 4)
    assert_close(H(x), x * _masks(1)[0])
    assert H.singular_values().shape == (1, 144)


def test_select_keeps_shared_data() -> None:
    H = Inpainting(SHAPE, _masks(1)[0])
    assert H.select(slice(0, 1)) is H


def test_two_different_batches_do_not_compose() -> None:
    with pytest.raises(InputError, match="3 samples and CircularBlur for 2"):
        Inpainting(SHAPE, _masks(1)) @ CircularBlur(SHAPE, _kernels(1)[:2])
