"""One entry per operator and kind of shape, and the dense matrices that they are tested against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from vml_fast.operators import (
    BicubicSuperResolution,
    CircularBlur,
    Colorization,
    Denoising,
    Inpainting,
    LinearMap,
    LinearOperator,
    MatrixOperator,
    SeparableBlur,
    SuperResolution,
    SVDOperator,
    WalshHadamard,
    box_mask,
    gaussian_kernel,
    random_mask,
    uniform_kernel,
)

DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def random_matrix(rows: int, columns: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(rows + 1000 * columns)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64).to(dtype) / 8


def sparse_matrix(rows: int, columns: int, density: float = 0.2) -> scipy.sparse.csr_array:
    return scipy.sparse.random_array(
        (rows, columns), density=density, format="csr", rng=np.random.default_rng(rows)
    )


def asymmetric_kernel(rows: int, columns: int) -> Tensor:
    """No symmetry that could hide a flip or a transposition."""
    kernel = torch.arange(1.0, rows * columns + 1, dtype=torch.float64).reshape(rows, columns)
    kernel[0, -1] += rows * columns
    return kernel / kernel.sum()


TAPS = [0.1, 0.5, 0.25, 0.1, 0.05]

SVD_OPERATORS: dict[str, Callable[[], SVDOperator]] = {
    "denoising": lambda: Denoising((3, 4, 6)),
    "denoising, one pixel": lambda: Denoising((1, 1, 1)),
    "inpainting, one mask for all channels": lambda: Inpainting(
        (3, 5, 4), random_mask((3, 5, 4), 0.6)
    ),
    "inpainting, a mask per channel": lambda: Inpainting(
        (4, 3, 5), torch.arange(60).reshape(4, 3, 5) % 3 == 0
    ),
    "super-resolution, non-square": lambda: SuperResolution((3, 8, 4), 2),
    "super-resolution, four channels, odd factor": lambda: SuperResolution((4, 6, 3), 3),
    "super-resolution, one block": lambda: SuperResolution((1, 4, 4), 4),
    "super-resolution, factor 1": lambda: SuperResolution((1, 3, 5), 1),
    "bicubic, non-square": lambda: BicubicSuperResolution((3, 8, 12), 4),
    "bicubic, odd factor": lambda: BicubicSuperResolution((1, 9, 6), 3),
    "bicubic, four channels, square": lambda: BicubicSuperResolution((4, 6, 6), 2),
    "bicubic, factor 1": lambda: BicubicSuperResolution((1, 3, 4), 1),
    "separable blur, odd sizes": lambda: SeparableBlur((1, 7, 5), TAPS),
    "separable blur, two kernels": lambda: SeparableBlur((3, 6, 9), TAPS, [0.2, 0.7, 0.1]),
    "separable blur, one kernel on a square": lambda: SeparableBlur((4, 6, 6), TAPS),
    "separable blur, kernel wider than the image": lambda: SeparableBlur(
        (1, 4, 4), gaussian_kernel(13, 2.0)
    ),
    "separable blur, singular values dropped": lambda: SeparableBlur(
        (1, 12, 12), gaussian_kernel(9, 2.0)
    ),
    "circular blur, even sizes": lambda: CircularBlur((3, 6, 8), asymmetric_kernel(3, 5)),
    "circular blur, odd sizes": lambda: CircularBlur((1, 5, 7), asymmetric_kernel(3, 3)),
    "circular blur, odd width, even kernel": lambda: CircularBlur(
        (2, 4, 5), asymmetric_kernel(4, 2)
    ),
    "circular blur, odd height, full-size kernel": lambda: CircularBlur(
        (1, 5, 6), asymmetric_kernel(5, 6)
    ),
    "circular blur, a kernel per channel": lambda: CircularBlur(
        (4, 4, 4), torch.stack([asymmetric_kernel(2, 3) * k for k in range(1, 5)])
    ),
    "circular blur, exact zeros in the spectrum": lambda: CircularBlur(
        (1, 6, 8), uniform_kernel(2)[None]
    ),
    "circular blur, one row": lambda: CircularBlur((1, 1, 6), asymmetric_kernel(1, 3)),
    "circular blur, one column": lambda: CircularBlur((1, 6, 1), asymmetric_kernel(3, 1)),
    "colorization": lambda: Colorization((3, 4, 5)),
    "colorization, four channels": lambda: Colorization((4, 3, 3)),
    "colorization, one channel": lambda: Colorization((1, 3, 5)),
    "Walsh-Hadamard": lambda: WalshHadamard((3, 8, 8), 0.25, seed=1),
    "Walsh-Hadamard, non-square": lambda: WalshHadamard((1, 4, 16), 0.3, seed=2),
    "Walsh-Hadamard, four channels, all": lambda: WalshHadamard((4, 2, 4), 1.0),
    "matrix, as many rows as columns": lambda: MatrixOperator(random_matrix(24, 24), (2, 3, 4)),
    "matrix, acting per channel": lambda: MatrixOperator(random_matrix(12, 12), (3, 3, 4)),
}
"""Operators with every basis: V and U complete."""

MATRICES: dict[str, Callable[[], MatrixOperator]] = {
    "fewer rows": lambda: MatrixOperator(random_matrix(10, 24), (2, 3, 4)),
    "more rows": lambda: MatrixOperator(random_matrix(40, 24), (2, 3, 4)),
    "fewer rows, per channel": lambda: MatrixOperator(
        random_matrix(6, 12), (3, 3, 4), measurement_shape=(2, 3)
    ),
    "more rows, per channel": lambda: MatrixOperator(random_matrix(15, 12), (3, 3, 4)),
    "rank-deficient": lambda: MatrixOperator(
        random_matrix(20, 5) @ random_matrix(5, 12), (1, 3, 4)
    ),
    "float32": lambda: MatrixOperator(random_matrix(9, 12, dtype=torch.float32), (1, 3, 4)),
}
"""Operators that lack a basis on one side."""

WITHOUT_SVD: dict[str, Callable[[], LinearOperator]] = {
    "sparse matrix": lambda: MatrixOperator(sparse_matrix(20, 36), (1, 6, 6)),
    "sparse matrix, more rows, per channel": lambda: MatrixOperator(
        sparse_matrix(30, 12), (4, 3, 4)
    ),
    "linear map, adjoint by autograd": lambda: LinearMap(_roll_and_weigh, (3, 4, 5)),
    "linear map, given adjoint": lambda: LinearMap(
        lambda x: x.detach().cumsum(-1), (1, 3, 6), lambda y: y.flip(-1).cumsum(-1).flip(-1)
    ),
    "composition, blur then super-resolution": lambda: (
        SuperResolution((3, 4, 8), 2) @ CircularBlur((3, 4, 8), asymmetric_kernel(3, 3))
    ),
    "composition of three": lambda: (
        Inpainting((1, 3, 3), box_mask((1, 3, 3), 0.4))
        @ BicubicSuperResolution((1, 6, 6), 2)
        @ SeparableBlur((1, 6, 6), TAPS)
    ),
}


def _roll_and_weigh(x: Tensor) -> Tensor:
    weights = torch.linspace(0.5, 1.5, x.shape[-1], dtype=x.dtype)
    return (x.roll(1, -2) * weights)[..., ::2].sum(1)


def everything() -> dict[str, Callable[[], LinearOperator]]:
    matrices = {f"matrix, {name}": make for name, make in MATRICES.items()}
    return {**SVD_OPERATORS, **matrices, **WITHOUT_SVD}


def unit_images(operator: LinearOperator, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.eye(operator.image_size, dtype=dtype).unflatten(1, operator.image_shape)


def unit_measurements(operator: LinearOperator, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.eye(operator.measurement_size, dtype=dtype).unflatten(
        1, operator.measurement_shape
    )


def dense(operator: LinearOperator) -> Tensor:
    """H as an (m, n) float64 matrix: each column is the measurement of one unit image."""
    columns = [operator(image[None]).flatten() for image in unit_images(operator)]
    return torch.stack(columns, 1)


def images(operator: LinearOperator, batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    shape = (batch, *operator.image_shape)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def measurements(
    operator: LinearOperator, batch: int = 2, dtype: torch.dtype = torch.float64
) -> Tensor:
    generator = torch.Generator().manual_seed(8)
    shape = (batch, *operator.measurement_shape)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float | None = None) -> None:
    """Equal to 1e-5 (float32) or 1e-10 (float64), relative to the largest expected entry or 1."""
    assert actual.shape == expected.shape
    limit = TOLERANCE[actual.dtype] if tolerance is None else tolerance
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    error = float((actual.double() - expected.double()).abs().max()) if expected.numel() else 0.0
    assert error <= limit * scale, f"error {error:.2e}, allowed {limit * scale:.2e}"
