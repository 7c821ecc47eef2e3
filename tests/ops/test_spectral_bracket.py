"""The circular-blur bracket: the reference against a dense circulant, the kernels against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops.brackets import BracketTests, assert_is_dense, dense_bracket
from tests.ops.helpers import (
    INTERPRETED,
    assert_agrees,
    assert_backend_agrees,
    assert_refused,
    everywhere,
    in_float64,
    kernels,
    layouts,
    placed,
    random_coefficients,
    run,
)
from vml_fast.ops.spectral_bracket import spectral_bracket

OP = "spectral_bracket"


def arguments(shape: tuple[int, ...], with_prior: bool = True) -> tuple:
    """One kernel for all channels and samples, a prior weight per sample; some s are 0."""
    b, _, h, w = shape
    half = (h, w // 2 + 1)
    raw, x = (torch.randn(shape) for _ in range(2))
    s = torch.rand(1, 1, *half) * (torch.rand(1, 1, *half) > 0.3)
    beta = torch.randn(b, 1, *half) if with_prior else None
    alpha = torch.rand(b, 1, *half)
    target = torch.randn(*shape[:2], *half, dtype=torch.complex64)
    return raw, x, target, s, alpha, beta, random_coefficients(b)


class TestSpectralBracket(BracketTests):
    op = OP

    def arguments(self, shape: tuple[int, ...]) -> tuple:
        return arguments(shape)


def circulant(taps: np.ndarray) -> np.ndarray:
    """The dense matrix of the circular convolution of an image with taps of its own size."""
    h, w = taps.shape
    columns = []
    for pixel in np.eye(h * w):
        blurred = np.zeros((h, w))
        for (i, j), tap in np.ndenumerate(taps):
            blurred += tap * np.roll(pixel.reshape(h, w), (i, j), (0, 1))
        columns.append(blurred.ravel())
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("with_prior", [True, False])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        (4, 6),  # columns 0 and w / 2 of the half spectrum are their own conjugates
        (3, 5),  # odd sizes: only column 0 is
        (4, 1),  # a column
    ],
)
def test_reference_is_the_spectral_form_of_a_dense_matrix(
    height: int, width: int, with_prior: bool
) -> None:
    taps = np.zeros((height, width))
    taps[:2, 0] = 0.5  # zero at the highest frequency of an even number of rows
    taps[0, -1] += 0.7 if width == 5 else 0.0
    matrix = circulant(taps)
    raw, x, y = (torch.randn(2, 1, height, width).double() for _ in range(3))
    coefficients = random_coefficients(2).double()
    spectrum = np.fft.rfft2(taps)
    s = np.abs(spectrum)
    s[s < 1e-12] = 0.0
    assert (s == 0).any() == (height % 2 == 0 and width != 5)
    target = np.exp(-1j * np.angle(spectrum)) * np.fft.rfft2(y.numpy(), norm="ortho")

    def alpha(s: np.ndarray) -> np.ndarray:
        return s / (s**2 + 0.1)

    def beta(s: np.ndarray) -> np.ndarray:
        return 0.3 + s**2 if with_prior else np.zeros_like(s)

    tables = [torch.from_numpy(t)[None, None] for t in (s, alpha(s), beta(s))]
    if not with_prior:
        tables[2] = None
    outputs = spectral_bracket(raw, x, torch.from_numpy(target), *tables, coefficients)
    expected = []
    for i, (skip, out, scale, _, beta_null) in enumerate(coefficients.tolist()):
        weights = (
            lambda s, scale=scale: scale * alpha(s),
            lambda s, scale=scale, beta_null=beta_null: beta_null + scale * beta(s),
            beta_null,
        )
        measured = y[i].flatten().numpy()
        expected.append(dense_bracket(matrix, raw[i], x[i], measured, (skip, out), weights))
    assert_is_dense(outputs, expected, coefficients)


@kernels
@pytest.mark.parametrize("table", ["shared", "per channel", "per sample", "both"])
@pytest.mark.parametrize("with_prior", [True, False])
def test_blurs_per_sample_and_per_channel(backend: str, table: str, with_prior: bool) -> None:
    raw, x, target, *_, coefficients = arguments((2, 3, 8, 9))
    sizes = {"shared": (1, 1), "per channel": (1, 3), "per sample": (2, 1), "both": (2, 3)}[table]
    s, alpha, beta = (torch.rand(*sizes, 8, 5) for _ in range(3))
    given = (raw, x, target, s, alpha, beta if with_prior else None, coefficients)
    assert_agrees(run(OP, backend, *given), spectral_bracket(*given))


POWERS_OF_TWO = [
    (2, 3, 32, 32),  # the smallest sides that the C++ op transforms itself, passes of radix 2 and 4
    (3, 2, 64, 32),  # of radix 4 alone, and a width of its own
    (1, 2, 32, 128),
    (1, 1, 1024, 32),  # the longest
    (1, 1, 32, 2048),  # longer ones are left to torch
    (0, 3, 32, 32),
]
"""Heights and widths, several blocks of 32 rows and of 16 columns."""
powers_of_two = pytest.mark.parametrize("shape", POWERS_OF_TWO, ids=str)


@kernels
@powers_of_two
@layouts
@pytest.mark.parametrize("with_prior", [True, False])
def test_sides_that_are_powers_of_two(
    backend: str, shape: tuple[int, ...], layout: str, with_prior: bool, poisoned_memory: None
) -> None:
    """Targets that no real image has, of which the inverse transform takes the real part."""
    given = placed(arguments(shape, with_prior), layout)
    assert_backend_agrees(OP, backend, given)


@kernels
@pytest.mark.skipif(INTERPRETED, reason="too large for Triton's interpreter")
@pytest.mark.parametrize("columns", [255, 256])
def test_results_larger_than_the_caches(backend: str, columns: int, poisoned_memory: None) -> None:
    """Written past them, where their address allows it; with no weight on the null space."""
    given = arguments((3, 3, 256, columns), with_prior=False)
    given[-1][:, 4] = 0.0
    assert_backend_agrees(OP, backend, given)


@kernels
@pytest.mark.parametrize("with_prior", [True, False])
@pytest.mark.parametrize("expanded", [3, 4, 5], ids=["s", "alpha", "beta"])
def test_one_number_stands_for_a_table(backend: str, with_prior: bool, expanded: int) -> None:
    given = list(arguments((2, 3, 32, 64), with_prior))
    for i in (2, expanded):
        if given[i] is not None:
            given[i] = given[i][..., :1].expand_as(given[i])
    assert_backend_agrees(OP, backend, tuple(given))


@everywhere
def test_nan_in_a_plane_stays_in_it(backend: str) -> None:
    """In the planes that share memory with others on their way through the transforms too."""
    given = arguments((2, 3, 32, 32))
    dirty = [a.clone() if isinstance(a, Tensor) else a for a in given]
    dirty[0][1, 1, 5, 7] = float("nan")
    clean, found = (run(OP, backend, *a)[0].flatten(0, 1) for a in (given, dirty))
    assert found[4].isnan().all()
    assert torch.equal(clean[[0, 1, 2, 3, 5]], found[[0, 1, 2, 3, 5]])


def test_reference_does_not_read_beta_where_s_is_zero() -> None:
    given = list(in_float64(arguments((2, 1, 6, 6))))
    before = spectral_bracket(*given)
    given[5] = torch.where(given[3] == 0, float("nan"), given[5])
    assert_agrees(spectral_bracket(*given), before, 0.0)


@kernels
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("target", torch.zeros(2, 3, 8, 8, dtype=torch.complex64)),
        ("target", torch.zeros(2, 3, 8, 5)),
        ("target", torch.zeros(2, 3, 8, 5, dtype=torch.complex128)),
        ("s", torch.zeros(1, 1, 8, 8)),
        ("s", torch.zeros(3, 1, 8, 5)),
        ("s", torch.zeros(8, 5)),
        ("alpha", torch.zeros(1, 1, 7, 5)),
        ("alpha", torch.zeros(1, 1, 8, 5, dtype=torch.float64)),
        ("beta", torch.zeros(1, 2, 8, 5)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, argument: str, wrong: Tensor) -> None:
    assert_refused(OP, backend, arguments((2, 3, 8, 8)), argument, wrong)
