"""Every way that the CUDA kernels go, against the references: on a GPU, or emulated on the CPU.

The launchers choose by format, size and type: vectors along one row, along rows of a plane, or of
whole RGB pixels; single elements; tiles or teams for blocks; passes and rounds of the transform;
clusters of blocks for GroupNorm. Emulated: in the process that test_cuda_emulated starts, with the
emulated library in place of the C++ one.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.ops import helpers
from tests.ops.conftest import LIBRARY
from tests.ops.helpers import LAYOUTS, channels_last, nchw, random_coefficients
from vml_fast.ops import resolve

GPU = torch.cuda.is_available()
BACKEND = "cuda" if GPU else "cpp"

pytestmark = [
    pytest.mark.skipif(
        not GPU and LIBRARY is None,
        reason="needs a CUDA device; without one test_cuda_emulated runs these tests",
    ),
    pytest.mark.usefixtures("poisoned_memory"),
    *([pytest.mark.gpu] if GPU else []),
]

NETWORK_DTYPES = [torch.float32, torch.bfloat16, torch.float16]
FORMATS = ["nchw", "channels_last"]
formats = pytest.mark.parametrize("layout", FORMATS)
dtypes = pytest.mark.parametrize("dtype", NETWORK_DTYPES, ids=str)

IMAGES = [
    (2, 3, 12, 16),  # one row of vectors, or RGB pixels
    (2, 3, 512, 260),  # more vectors than threads: each takes several
    (2, 3, 6, 10),  # rows are no whole vectors, samples are
    (1, 3, 5, 7),  # nothing is a whole vector
    (2, 4, 8, 8),  # other than three channels
    (3, 1, 8, 12),
]
images = pytest.mark.parametrize("shape", IMAGES, ids=str)


def image(shape: tuple[int, ...], layout: str, dtype: torch.dtype = torch.float32) -> Tensor:
    return LAYOUTS[layout](torch.randn(shape).to(dtype))


def compare(name: str, *given: object) -> None:
    helpers.assert_backend_no_worse_than_torch(name, BACKEND, given)


def rows_apart(t: Tensor) -> Tensor:
    """Rows with a gap between them: vectors along each row."""
    b, c, h, w = t.shape
    return torch.zeros(b, c, h, w + 4).to(t)[..., :w].copy_(t)


@images
@dtypes
@formats
@pytest.mark.parametrize("state", FORMATS)
def test_pointwise_brackets(
    shape: tuple[int, ...], dtype: torch.dtype, layout: str, state: str
) -> None:
    b, _, h, w = shape
    raw, x, y = image(shape, layout, dtype), image(shape, state), image(shape, state)
    coefficients = random_coefficients(b)
    compare("general_bracket", raw, x, y, coefficients)
    for mask in (torch.rand(1, 1, h, w), torch.rand(shape)):
        compare("mask_bracket", raw, x, y, mask > 0.5, coefficients)
    for with_prior in (False, True):
        compare("denoised_stack", raw, x, coefficients, with_prior)
    compare("colorization_bracket", raw, x, image((b, 1, h, w), "nchw"), coefficients)


@dtypes
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("place", [rows_apart, lambda t: channels_last(t)[1:]])
def test_views(dtype: torch.dtype, channels: int, place: object) -> None:
    """Strides between rows and samples; the data starts somewhere in its storage."""
    shape = (3, channels, 8, 12)
    raw, x, y = (place(torch.randn(shape)) for _ in range(3))  # type: ignore[operator]
    b = x.shape[0]
    mask = (torch.rand(x.shape) > 0.5).to(torch.uint8)
    compare("mask_bracket", raw.to(dtype), x, y, mask, random_coefficients(b))
    compare("colorization_bracket", raw.to(dtype), x, y[:, :1], random_coefficients(b))


def test_data_that_is_not_aligned() -> None:
    """A view that starts one element into its storage cannot be read in vectors."""
    raw, x, y = (torch.randn(2 * 3 * 64 + 1)[1:].view(2, 3, 8, 8) for _ in range(3))
    compare("general_bracket", raw, x, y, random_coefficients(2))
    norm = (x, 1, *torch.randn(2, 3).unbind(0), 1e-5, None, None, True)
    compare("group_norm_silu_forward", *norm)


@pytest.mark.skipif(not GPU, reason="takes the emulation minutes")
def test_more_samples_than_rows_of_a_grid() -> None:
    raw, x, y = torch.randn(3, 70_001, 1, 1, 3).unbind(0)
    compare("general_bracket", raw, x, y, random_coefficients(70_001))
    norm = (x, 1, *torch.randn(2, 1).unbind(0), 1e-5, None, None, True)
    compare("group_norm_silu_forward", *norm)


@images
@dtypes
@formats
@pytest.mark.parametrize("state", FORMATS)
def test_update(shape: tuple[int, ...], dtype: torch.dtype, layout: str, state: str) -> None:
    call = resolve("update", BACKEND, helpers.DEVICES[BACKEND])
    x, v = image(shape, state), image(shape, state)
    gradient, u = image(shape, layout, dtype), image(shape, layout, dtype)
    coefficients = random_coefficients(shape[0], 2)
    found = helpers.on_device(BACKEND, x.clone(), v, gradient, u.clone(), coefficients)
    call(*found)
    resolve("update", "reference")(x, v, gradient, u, coefficients)
    helpers.assert_agrees((found[0].cpu(),), (x,))
    tolerance = max(helpers.FLOAT32_TOLERANCE, torch.finfo(dtype).eps)
    helpers.assert_agrees((found[3].cpu().float(),), (u.float(),), tolerance)


@dtypes
@pytest.mark.parametrize("layout", [*FORMATS, "transposed"])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 8, 16, 32])
def test_block_means(factor: int, channels: int, layout: str, dtype: torch.dtype) -> None:
    """Tiles for 2, 4, 8, 16; 3 x 36 and more columns are several strips for a warp."""
    h, w = 2, max(3, 144 // factor)
    shape = (2, channels, h * factor, w * factor)
    raw, x = image(shape, layout, dtype), image(shape, "nchw")
    y = image((2, channels, h, w), layout)
    compare("block_mean_bracket", raw, x, y, factor, random_coefficients(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("sizes", [(8, 8), (6, 5), (260, 257)])
@pytest.mark.parametrize("factors", [(1, 1, 1, 1), (2, 1, 1, 1), (1, 3, -1, -1), (2, 1, -1, 1)])
def test_spectral_filter(
    dtype: torch.dtype, sizes: tuple[int, int], factors: tuple[int, ...]
) -> None:
    """Factors of a sample, of a channel, of a row (repeated along it) and of every coordinate."""
    shape = (2, 3, *sizes)
    s, alpha, beta = (
        torch.rand([n if n > 0 else shape[i] for i, n in enumerate(factors)]) for _ in range(3)
    )
    target, *z = (torch.randn(shape, dtype=dtype) for _ in range(3))
    compare("spectral_filter", torch.stack(z[:1]), target, s.round(), alpha, None)
    compare("spectral_filter", torch.stack(z), target, s.round(), alpha, beta)


@images
@formats
def test_transition(shape: tuple[int, ...], layout: str) -> None:
    """The noise is that of the reference in every format, to the rounding of its transform."""
    b = shape[0]
    seed, sample = torch.randint(-(2**63), 2**63 - 1, (2, b)).unbind(0)
    given = (image(shape, layout), torch.rand(b), seed, sample, torch.tensor([2**32 + 5]))
    helpers.assert_backend_agrees("transition", BACKEND, given)


@pytest.mark.parametrize("bits", [*range(8), 10, 11, 12, 13, 14, 15, 17, 20, 21])
def test_transform_lengths(bits: int) -> None:
    """One pass of three or four rounds up to 14 bits, two passes up to 20, then three."""
    x = torch.randn(3 if bits < 15 else 1, 1 << bits)
    helpers.assert_backend_agrees("fwht", BACKEND, (x,))


NORMS = [
    ((2, 64, 16, 16), 32),  # groups of two channels
    ((2, 40, 12, 12), 10),  # the second tile is narrower
    ((1, 192, 8, 8), 32),  # 6 channels to a group: tiles of 12
    ((1, 320, 4, 4), 32),  # 10 channels to a group
    ((1, 32, 64, 64), 4),  # a cluster of blocks for a tile
    ((1, 32, 128, 128), 1),  # the largest cluster, more threads, few blocks
    ((2, 12, 33, 47), 4),  # odd pixels: channels-last vectors, planar elements; a cluster
    ((1, 6, 90, 91), 3),  # elements in both formats; a cluster
    ((1, 1040, 2, 2), 1),  # a group that is too wide for a tile
    ((2, 8, 1, 1), 2),  # one pixel
]


@pytest.mark.parametrize(("shape", "groups"), NORMS, ids=str)
@dtypes
@formats
def test_group_norm(shape: tuple[int, ...], groups: int, dtype: torch.dtype, layout: str) -> None:
    b, c = shape[:2]
    x, gradient = image(shape, layout, dtype) + 2, image(shape, layout, dtype)
    weight, bias = torch.randn(2, c).to(dtype).unbind(0)
    scale, shift = torch.randn(b, 2 * c).to(dtype).chunk(2, dim=1)
    forward = (x, groups, weight, bias, 1e-5, scale, shift, True)
    compare("group_norm_silu_forward", *forward)
    mean, rstd = resolve("group_norm_silu_forward", "reference")(*forward)[1:]
    backward = (gradient, x, mean, rstd, groups, weight, bias, scale, shift, True)
    compare("group_norm_silu_backward", *backward)
    mixed = (channels_last(gradient) if layout == "nchw" else nchw(gradient), *backward[1:])
    compare("group_norm_silu_backward", *mixed)
