"""Bad arguments: one sentence that names the argument, the value and what is allowed."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse
import torch

from tests.operators.problems import TAPS, asymmetric_kernel, random_matrix, sparse_matrix
from vml_fast.errors import InputError
from vml_fast.operators import (
    BicubicSuperResolution,
    CircularBlur,
    Colorization,
    Denoising,
    Inpainting,
    MatrixOperator,
    SeparableBlur,
    SuperResolution,
    WalshHadamard,
    box_mask,
    expand_mask,
    gaussian_kernel,
    half_mask,
    motion_kernel,
    random_mask,
    subsample_mask,
    uniform_kernel,
)

NAN, INF = float("nan"), float("inf")
SHAPE = (3, 4, 8)
ONES = torch.ones(1, 4, 8)
SPARSE_NAN = sparse_matrix(5, 96)
SPARSE_NAN.data[0] = NAN

CONSTRUCTION: list[tuple[Callable[[], object], str]] = [
    (lambda: Denoising((3, 4)), r"image_shape is \(3, 4\); allowed: three positive integers"),
    (lambda: Denoising((3, 4, 0)), r"image_shape is \(3, 4, 0\)"),
    (lambda: Denoising((3, 4, 5.0)), "image_shape is"),
    (lambda: Denoising(12), "image_shape is 12"),
    (lambda: Denoising(SHAPE, rtol=-1e-3), r"rtol is -0.001; it must be a number in \[0, 1\)"),
    (lambda: Denoising(SHAPE, rtol=1.0), "rtol is 1.0"),
    (lambda: Denoising(SHAPE, rtol=NAN), "rtol is nan"),
    (lambda: Colorization((0, 4, 4)), "image_shape is"),
    (lambda: Inpainting(SHAPE, torch.ones(4, 8)), r"mask has shape \(4, 8\); .*\(3, 4, 8\)"),
    (lambda: Inpainting(SHAPE, torch.ones(2, 4, 8)), r"mask has shape \(2, 4, 8\)"),
    (lambda: Inpainting(SHAPE, torch.ones(1, 8, 4)), r"mask has shape \(1, 8, 4\)"),
    (lambda: Inpainting(SHAPE, torch.ones(0, 1, 4, 8)), r"mask has shape \(0, 1, 4, 8\)"),
    (lambda: Inpainting(SHAPE, ONES * 0), "mask hides every entry"),
    (
        lambda: Inpainting(SHAPE, torch.stack([ONES, ONES * 0])),
        "mask hides every entry of an image",
    ),
    (lambda: Inpainting(SHAPE, ONES * 0.5), "mask has values other than 0"),
    (lambda: Inpainting(SHAPE, ONES * 255), "mask has values other than 0"),
    (lambda: Inpainting(SHAPE, ONES * NAN), "mask has values other than 0"),
    (lambda: Inpainting(SHAPE, "half"), "mask is a str"),
    (lambda: Inpainting(SHAPE, None), "mask is a NoneType"),
    (lambda: Inpainting(SHAPE, ONES * 1j), "mask has dtype torch.complex64"),
    (lambda: SuperResolution((3, 6, 8), 4), "factor 4 does not divide the height 6 and the width"),
    (lambda: SuperResolution(SHAPE, 0), "factor is 0; it must be a whole number of at least 1"),
    (lambda: SuperResolution(SHAPE, 2.0), "factor is 2.0"),
    (lambda: SuperResolution(SHAPE, True), "factor is True"),
    (lambda: BicubicSuperResolution((3, 8, 9), 2), "factor 2 does not divide"),
    (lambda: SeparableBlur(SHAPE, [0.5, 0.5]), r"kernel has shape \(2,\); .*odd"),
    (lambda: SeparableBlur(SHAPE, []), r"kernel has shape \(0,\)"),
    (lambda: SeparableBlur(SHAPE, torch.ones(3, 3)), r"kernel has shape \(3, 3\)"),
    (lambda: SeparableBlur(SHAPE, TAPS, [1.0, NAN, 1.0]), "kernel_columns contains NaN"),
    (lambda: SeparableBlur(SHAPE, [0.0, 0.0, 0.0]), "kernel has no non-zero entry"),
    (lambda: CircularBlur(SHAPE, TAPS), r"kernel has shape \(5,\); image_shape \(3, 4, 8\)"),
    (lambda: CircularBlur(SHAPE, torch.ones(5, 5)), r"kernel has shape \(5, 5\).*kh <= 4"),
    (lambda: CircularBlur(SHAPE, torch.ones(2, 3, 3)), r"kernel has shape \(2, 3, 3\)"),
    (lambda: CircularBlur(SHAPE, torch.ones(0, 3)), r"kernel has shape \(0, 3\)"),
    (lambda: CircularBlur(SHAPE, asymmetric_kernel(3, 3) * INF), "kernel contains NaN or inf"),
    (
        lambda: CircularBlur(SHAPE, torch.stack([torch.ones(1, 3, 3), torch.zeros(1, 3, 3)])),
        "kernel has no non-zero entry for a sample",
    ),
    (lambda: WalshHadamard((3, 4, 6), 0.5), "width of image_shape is 6; .*powers of two"),
    (lambda: WalshHadamard(SHAPE, 0.0), r"ratio is 0.0; it must be a number in \(0, 1\]"),
    (lambda: WalshHadamard(SHAPE, 1.1), "ratio is 1.1"),
    (lambda: WalshHadamard(SHAPE, 0.02), "2 of 96 coefficients are too few.*at least 0.0312"),
    (lambda: WalshHadamard(SHAPE, 0.5, seed=-1), "seed is -1"),
    (lambda: WalshHadamard(SHAPE, 0.5, seed=0.5), "seed is 0.5"),
    (lambda: WalshHadamard(SHAPE, 0.5, selection=[0, 1]), r"selection has shape \(2,\)"),
    (lambda: WalshHadamard((1, 2, 2), 0.5, selection=[0, 4]), "outside"),
    (lambda: WalshHadamard((1, 2, 2), 0.5, selection=[0.9, 2.7]), "selection has dtype .*float64"),
    (lambda: WalshHadamard((1, 2, 2), 0.5, selection=[1, 1]), "repeated"),
    (lambda: MatrixOperator(random_matrix(5, 95), SHAPE), r"matrix has shape \(5, 95\); .*96"),
    (lambda: MatrixOperator(torch.ones(96), SHAPE), r"matrix has shape \(96,\)"),
    (lambda: MatrixOperator(torch.ones(0, 96), SHAPE), r"matrix has shape \(0, 96\)"),
    (lambda: MatrixOperator(torch.zeros(2, 96), SHAPE), "matrix has no non-zero entry"),
    (lambda: MatrixOperator(torch.full((2, 96), NAN), SHAPE), "matrix contains NaN"),
    (lambda: MatrixOperator(torch.ones(2, 96) * 1j, SHAPE), "matrix has dtype torch.complex64"),
    (lambda: MatrixOperator(SPARSE_NAN, SHAPE), "matrix contains NaN"),
    (lambda: MatrixOperator(scipy.sparse.csr_array((5, 96)), SHAPE), "no non-zero entry"),
    (lambda: MatrixOperator(np.array([["a"]]), (1, 1, 1)), "matrix is a ndarray"),
    (lambda: MatrixOperator(random_matrix(5, 96), SHAPE, rank=6), "rank is 6; .*1 to 5"),
    (lambda: MatrixOperator(random_matrix(5, 96), SHAPE, rank=0), "rank is 0"),
    (lambda: MatrixOperator(sparse_matrix(5, 96), SHAPE, rank=5), "a sparse matrix .*1 to 4"),
    (
        lambda: MatrixOperator(random_matrix(6, 96), SHAPE, measurement_shape=(2, 2)),
        r"measurement_shape is \(2, 2\); allowed: a shape of 6 entries",
    ),
    (lambda: MatrixOperator(random_matrix(10, 96), SHAPE, measurement_shape=(-2, -5)), "-2, -5"),
    (lambda: MatrixOperator(random_matrix(10, 96), SHAPE, measurement_shape=(2.0, 5)), "2.0, 5"),
    (lambda: MatrixOperator(random_matrix(10, 96), SHAPE, measurement_shape=10), "shape is 10;"),
    (lambda: MatrixOperator(random_matrix(10, 96), SHAPE, measurement_shape="ab"), "is 'ab'"),
    (lambda: half_mask(SHAPE, "middle"), "side is 'middle'; allowed: left, right, top, bottom"),
    (lambda: half_mask((4, 8)), "image_shape is"),
    (lambda: box_mask(SHAPE, 1.0), r"width is 1.0; it must be a number in \(0, 1\)"),
    (lambda: box_mask(SHAPE, 0.01), "width is 0.01, a box of 0 × 0"),
    (lambda: expand_mask(SHAPE, -0.5), r"width is -0.5; it must be a number in \(0, 1\)"),
    (lambda: box_mask(SHAPE, 0.99), "width is 0.99, a box of 4 × 8"),
    (lambda: random_mask(SHAPE, 1.0), "missing is 1.0, which hides all 32"),
    (lambda: random_mask(SHAPE, NAN), "missing is nan"),
    (lambda: subsample_mask(SHAPE, 0), "factor is 0"),
    (lambda: gaussian_kernel(0, 1.0), "taps is 0"),
    (lambda: gaussian_kernel(3, 0.0), r"std is 0.0; it must be a number in \(0, inf\)"),
    (lambda: gaussian_kernel(3, INF), r"std is inf; it must be a number in \(0, inf\)"),
    (lambda: uniform_kernel(-1), "taps is -1"),
    (lambda: motion_kernel(4), "size is 4; allowed: an odd integer of at least 3"),
    (lambda: motion_kernel(5, 2.0), "intensity is 2.0"),
    (lambda: motion_kernel(5, 0.5, "x"), "seed is 'x'"),
]


@pytest.mark.parametrize(("call", "message"), CONSTRUCTION)
def test_construction(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


H = SuperResolution(SHAPE, 2)
X, Y = torch.zeros(2, *SHAPE), torch.zeros(2, 3, 2, 4)
CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: H(X[0]), r"x has shape \(3, 4, 8\); SuperResolution takes \(B, 3, 4, 8\)"),
    (lambda: H(X[:, :1]), r"x has shape \(2, 1, 4, 8\)"),
    (lambda: H(X.mT), r"x has shape \(2, 3, 8, 4\)"),
    (lambda: H(X.half()), "x has dtype torch.float16; allowed: torch.float32, torch.float64"),
    (lambda: H(X.bfloat16()), "x has dtype torch.bfloat16"),
    (lambda: H(X.long()), "x has dtype torch.int64"),
    (lambda: H(X.tolist()), "x is a list; allowed: a torch, NumPy or CuPy array"),
    (lambda: H.adjoint(X), r"y has shape \(2, 3, 4, 8\); SuperResolution takes \(B, 3, 2, 4\)"),
    (lambda: H.adjoint(Y[0]), r"y has shape \(3, 2, 4\)"),
    (lambda: H.pseudo_inverse(Y[:, :2]), r"y has shape \(2, 2, 2, 4\)"),
    (lambda: H.residual(X, X), "y has shape"),
    (lambda: H.residual(Y, Y), "x has shape"),
    (lambda: H.vt(Y), "x has shape"),
    (lambda: H.v(torch.zeros(2, 95)), r"z has shape \(2, 95\); SuperResolution takes \(B, 96\)"),
    (lambda: H.ut(X), "y has shape"),
    (lambda: H.u(torch.zeros(2, 96)), r"z has shape \(2, 96\)"),
    (lambda: H.spectral(Y), "x has shape"),
    (lambda: H.spatial(Y), "z has shape"),
    (lambda: H.spectral_measurement(X), "y has shape"),
]


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_calls(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
