"""Set-up takes well under a second at 256 × 256 × 3, and memory is O(n)."""

import time
from collections.abc import Callable, Iterator

import pytest
import torch

from vml_fast.operators import (
    BicubicSuperResolution,
    CircularBlur,
    Colorization,
    Denoising,
    Inpainting,
    SeparableBlur,
    SuperResolution,
    SVDOperator,
    WalshHadamard,
    gaussian_kernel,
    motion_kernel,
    random_mask,
)

SHAPE = (3, 256, 256)
OPERATORS: dict[str, Callable[[], SVDOperator]] = {
    "denoising": lambda: Denoising(SHAPE),
    "inpainting": lambda: Inpainting(SHAPE, random_mask(SHAPE)),
    "super-resolution": lambda: SuperResolution(SHAPE, 4),
    "bicubic": lambda: BicubicSuperResolution(SHAPE, 4),
    "separable blur": lambda: SeparableBlur(SHAPE, gaussian_kernel(61, 3.0)),
    "two-kernel blur": lambda: SeparableBlur(
        SHAPE, gaussian_kernel(9, 20.0), gaussian_kernel(9, 1.0)
    ),
    "circular blur": lambda: CircularBlur(SHAPE, motion_kernel(61)),
    "colorization": lambda: Colorization(SHAPE),
    "Walsh-Hadamard": lambda: WalshHadamard(SHAPE, 0.25),
}


def _first_use(
    make: Callable[[], SVDOperator], x: torch.Tensor
) -> tuple[float, SVDOperator, torch.Tensor]:
    """CPU seconds to make an operator and call each method once; the operator; V Vᵀ x."""
    start = time.process_time()
    H = make()
    y = H(x)
    H.adjoint(y)
    back = H.v(H.vt(x))
    H.pseudo_inverse(y)
    H.u(H.ut(y))
    H.retained(x)
    H.spectral_retained(x)
    H.norm()
    return time.process_time() - start, H, back


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Nobody waits for another thread, so that CPU time is time on a free machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS.keys())
def test_set_up_and_memory(make: Callable[[], SVDOperator]) -> None:
    x = torch.randn(1, *SHAPE)
    seconds, H, back = min((_first_use(make, x) for _ in range(2)), key=lambda run: run[0])
    assert seconds < 1.0
    assert float((back - x).abs().max()) < 1e-4
    held = [*H._data.values(), *H._derived.values(), *H._casts.values()]
    assert sum(tensor.numel() for tensor in held) < 16 * H.image_size


def test_one_cast_per_dtype_and_device() -> None:
    """Repeated use computes and allocates nothing new."""
    H = SeparableBlur((1, 8, 8), gaussian_kernel(5, 1.0))
    x = torch.randn(2, 1, 8, 8)

    def use() -> set[int]:
        H.spatial(H.spectral_singular_values(x) * H.spectral(x))
        H.pseudo_inverse(H(x))
        return {tensor.data_ptr() for tensor in (*H._casts.values(), *H._derived.values())}

    assert use() == use()
