"""Each operator against an independent implementation of its definition."""

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.signal
import torch
from PIL import Image
from torch import Tensor

from tests.operators.problems import TAPS, assert_close, asymmetric_kernel
from vml_fast.operators import (
    BicubicSuperResolution,
    CircularBlur,
    Colorization,
    Denoising,
    Inpainting,
    SeparableBlur,
    SuperResolution,
    WalshHadamard,
)


def _image(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_denoising() -> None:
    x = _image(2, 3, 4, 5)
    assert torch.equal(Denoising((3, 4, 5))(x), x)


def test_inpainting_hides_with_zeros() -> None:
    mask = np.zeros((3, 4, 5), dtype=bool)
    mask[0, 1, 2] = mask[2, 3, 4] = True
    x = _image(1, 3, 4, 5)
    y = Inpainting((3, 4, 5), mask)(x).numpy()
    assert y[0, 0, 1, 2] == x[0, 0, 1, 2] and y[0, 2, 3, 4] == x[0, 2, 3, 4]
    assert np.count_nonzero(y) == 2


@pytest.mark.parametrize("factor", [1, 2, 3, 6])
def test_super_resolution_is_the_block_mean(factor: int) -> None:
    x = _image(2, 3, 6, 12)
    y = SuperResolution((3, 6, 12), factor)(x)
    for i in range(6 // factor):
        for j in range(12 // factor):
            rows, columns = slice(i * factor, (i + 1) * factor), slice(j * factor, (j + 1) * factor)
            assert_close(y[:, :, i, j], x[:, :, rows, columns].mean((2, 3)))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_bicubic_away_from_the_border_is_pillows(factor: int) -> None:
    x = _image(1, 1, 12 * factor, 9 * factor)
    y = BicubicSuperResolution(tuple(x.shape[1:]), factor)(x)[0, 0].numpy()
    picture = Image.fromarray(x[0, 0].numpy().astype(np.float32))
    size = (x.shape[3] // factor, x.shape[2] // factor)
    reduced = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
    np.testing.assert_allclose(y[2:-2, 2:-2], reduced[2:-2, 2:-2], atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_bicubic_mirrors_at_the_border(factor: int) -> None:
    """torch's antialiased bicubic on the image mirrored with NumPy, cropped again."""
    x = _image(2, 3, 2 * factor, 5 * factor)
    pad = 3 * factor
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="symmetric")
    size = (padded.shape[2] // factor, padded.shape[3] // factor)
    reduced = torch.nn.functional.interpolate(
        torch.from_numpy(padded), size=size, mode="bicubic", antialias=True
    )
    y = BicubicSuperResolution(tuple(x.shape[1:]), factor)(x)
    assert_close(y, reduced[:, :, 3:-3, 3:-3], 1e-12)


def test_bicubic_keeps_a_constant() -> None:
    x = torch.full((1, 1, 8, 8), 0.7, dtype=torch.float64)
    assert_close(BicubicSuperResolution((1, 8, 8), 4)(x), torch.full_like(x, 0.7)[..., :2, :2])


@pytest.mark.parametrize("columns", [None, [0.2, 0.7, 0.1]])
def test_separable_blur_is_scipys(columns: list[float] | None) -> None:
    x = _image(2, 3, 9, 7)
    y = SeparableBlur((3, 9, 7), TAPS, columns)(x).numpy()
    expected = scipy.ndimage.convolve1d(x.numpy(), TAPS, axis=2, mode="constant")
    other = TAPS if columns is None else columns
    expected = scipy.ndimage.convolve1d(expected, other, axis=3, mode="constant")
    np.testing.assert_allclose(y, expected, atol=1e-13)
    kernel = np.outer(TAPS, other)
    plane = scipy.signal.convolve2d(x[1, 2].numpy(), kernel, mode="same")
    np.testing.assert_allclose(y[1, 2], plane, atol=1e-13)


def test_separable_blur_is_conv2d() -> None:
    """A cross-correlation with the flipped kernel and zero padding."""
    x = _image(2, 1, 9, 7)
    kernel = torch.outer(torch.tensor(TAPS), torch.tensor([0.2, 0.7, 0.1])).double()
    expected = torch.nn.functional.conv2d(x, kernel.flip(0, 1)[None, None], padding=(2, 1))
    taps = torch.tensor(TAPS), torch.tensor([0.2, 0.7, 0.1])
    assert_close(SeparableBlur((1, 9, 7), *taps)(x), expected, 1e-7)


@pytest.mark.parametrize("size", [(3, 5), (5, 3), (1, 1), (7, 5)])
def test_circular_blur_of_odd_size_is_scipys(size: tuple[int, int]) -> None:
    x, kernel = _image(2, 3, 8, 7), asymmetric_kernel(*size)
    y = CircularBlur((3, 8, 7), kernel)(x).numpy()
    expected = scipy.ndimage.convolve(x.numpy(), kernel.numpy()[None, None], mode="wrap")
    np.testing.assert_allclose(y, expected, atol=1e-13)


@pytest.mark.parametrize("size", [(2, 2), (4, 3), (8, 7), (1, 6)])
def test_circular_blur_is_a_sum_of_rolls(size: tuple[int, int]) -> None:
    """The written definition, for even sizes too: tap j moves the image by j - k//2."""
    x, kernel = _image(2, 3, 8, 7), asymmetric_kernel(*size)
    expected = torch.zeros_like(x)
    for i in range(size[0]):
        for j in range(size[1]):
            shift = (i - size[0] // 2, j - size[1] // 2)
            expected += kernel[i, j] * torch.roll(x, shift, (2, 3))
    assert_close(CircularBlur((3, 8, 7), kernel)(x), expected)


def test_kernels_per_channel_are_applied_in_order() -> None:
    x = _image(1, 2, 5, 5)
    kernels = torch.stack([asymmetric_kernel(3, 3), asymmetric_kernel(3, 3).T])
    y = CircularBlur((2, 5, 5), kernels)(x)
    for channel in range(2):
        alone = CircularBlur((1, 5, 5), kernels[channel])(x[:, channel : channel + 1])
        assert_close(y[:, channel : channel + 1], alone)


def test_circular_blur_is_diagonal_in_the_fourier_basis() -> None:
    """Flat coordinates against NumPy's full transform: the order that the documentation states."""
    x, kernel = _image(1, 1, 4, 6), asymmetric_kernel(3, 3)
    H = CircularBlur((1, 4, 6), kernel)
    spectrum = np.fft.fft2(x[0, 0].numpy(), norm="ortho")
    z = H.vt(x)[0].reshape(4, 6).numpy()
    np.testing.assert_allclose(z[1, 2], np.sqrt(2) * spectrum[1, 2].real, atol=1e-12)
    np.testing.assert_allclose(z[3, 4], -np.sqrt(2) * spectrum[1, 2].imag, atol=1e-12)
    np.testing.assert_allclose(z[3, 0], -np.sqrt(2) * spectrum[1, 0].imag, atol=1e-12)
    np.testing.assert_allclose(z[2, 3], spectrum[2, 3].real, atol=1e-12)
    padded = np.zeros((4, 6))
    padded[:3, :3] = kernel.numpy()
    values = H.singular_values().reshape(4, 6).numpy()
    np.testing.assert_allclose(values, np.abs(np.fft.fft2(padded)), atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colorization_is_the_mean(channels: int) -> None:
    x = _image(2, channels, 3, 4)
    y = Colorization((channels, 3, 4))(x)
    np.testing.assert_allclose(y.numpy(), np.mean(x.numpy(), 1, keepdims=True), atol=1e-15)


def test_walsh_hadamard_is_scipys_flat_transform() -> None:
    """On a square image: the flat transform of length 64, per channel, at the selected places."""
    x = _image(1, 2, 8, 8)
    H = WalshHadamard((2, 8, 8), 0.4, seed=5)
    transform = scipy.linalg.hadamard(64) / 8
    coefficients = (x[0].flatten(1).numpy() @ transform.T).ravel()
    selection = H.data["selection"].numpy()
    np.testing.assert_allclose(H(x)[0].numpy(), coefficients[selection], atol=1e-12)


def test_walsh_hadamard_on_a_rectangle() -> None:
    x = _image(1, 1, 2, 8)
    transform = scipy.linalg.hadamard(2) @ x[0, 0].numpy() @ scipy.linalg.hadamard(8) / 4
    y = WalshHadamard((1, 2, 8), 1.0)(x)
    np.testing.assert_allclose(y[0].numpy(), transform.ravel(), atol=1e-12)


def test_walsh_hadamard_selection() -> None:
    """m = ceil(ratio·n) distinct coefficients in ascending order, every channel's constant kept."""
    for ratio, count in ((0.25, 48), (0.1, 20), (7 / 192, 7), (1.0, 192)):
        H = WalshHadamard((3, 8, 8), ratio, seed=3)
        selection = H.data["selection"]
        assert H.measurement_shape == (count,)
        assert bool((selection.diff() > 0).all())
        assert {0, 64, 128} <= set(selection.tolist())
    same = WalshHadamard((3, 8, 8), 0.25, seed=3).data["selection"]
    assert torch.equal(same, WalshHadamard((3, 8, 8), 0.25, seed=3).data["selection"])
    assert not torch.equal(same, WalshHadamard((3, 8, 8), 0.25, seed=4).data["selection"])
    given = WalshHadamard((1, 2, 2), 0.5, selection=[3, 0]).data["selection"]
    assert given.tolist() == [3, 0]
