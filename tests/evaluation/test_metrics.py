"""PSNR by its formula, SSIM against scikit-image."""

import math

import pytest
import torch

from vml_fast.errors import InputError
from vml_fast.evaluation import metrics


def _pair(batch=3, channels=3, height=24, width=31):
    generator = torch.Generator().manual_seed(1)
    truth = torch.rand(batch, channels, height, width, generator=generator) * 2 - 1
    noise = torch.randn(truth.shape, generator=generator)
    scale = torch.linspace(0.05, 0.6, batch).reshape(-1, 1, 1, 1)
    return truth + scale * noise, truth


def test_psnr_of_a_constant_error():
    truth = torch.zeros(2, 3, 4, 4)
    images = truth + torch.tensor([0.2, 2.0]).reshape(2, 1, 1, 1)
    expected = torch.tensor([20.0, 0.0], dtype=torch.float64)  # 20 log10(2 / error)
    torch.testing.assert_close(metrics.psnr(images, truth), expected, atol=1e-6, rtol=0)


def test_psnr_of_equal_images_is_infinite():
    images, _ = _pair()
    assert metrics.psnr(images, images).tolist() == [math.inf] * 3


@pytest.mark.parametrize("channels", [1, 3])
def test_metrics_agree_with_scikit_image(channels):
    reference = pytest.importorskip("skimage.metrics")
    images, truth = _pair(channels=channels)
    for k, (ours_psnr, ours_ssim) in enumerate(
        zip(metrics.psnr(images, truth), metrics.ssim(images, truth), strict=True)
    ):
        a, b = images[k].double().numpy(), truth[k].double().numpy()
        psnr = reference.peak_signal_noise_ratio(b, a, data_range=2.0)
        ssim = reference.structural_similarity(
            (b + 1) / 2, (a + 1) / 2, data_range=1.0, channel_axis=0, gaussian_weights=True,
            sigma=1.5, use_sample_covariance=False,
        )  # fmt: skip
        assert float(ours_psnr) == pytest.approx(psnr, abs=1e-9)
        assert float(ours_ssim) == pytest.approx(ssim, abs=1e-6)


def test_ssim_is_that_of_the_pictures():
    """A black and a white picture are unlike, which the formula on [-1, 1] would not say."""
    black, white = torch.full((1, 3, 16, 16), -1.0), torch.ones(1, 3, 16, 16)
    assert 0 <= float(metrics.ssim(black, white)) < 1e-3


def test_each_image_is_scored_alone():
    images, truth = _pair()
    for metric in (metrics.psnr, metrics.ssim):
        together = metric(images, truth)
        alone = torch.cat([metric(images[k : k + 1], truth[k : k + 1]) for k in range(3)])
        assert together.shape == (3,)
        torch.testing.assert_close(together, alone)
        assert bool((together.diff() < 0).all()), "more noise must score lower"


def test_ssim_of_equal_images_is_one():
    images, _ = _pair()
    torch.testing.assert_close(metrics.ssim(images, images), torch.ones(3, dtype=torch.float64))


def test_ssim_is_undefined_below_its_window():
    assert metrics.ssim(torch.zeros(2, 3, 8, 64), torch.zeros(2, 3, 8, 64)).isnan().tolist() == [
        True,
        True,
    ]


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (2, 3, 16, 15), (3, 16, 16)])
def test_other_shapes_are_an_error(metric, shape):
    with pytest.raises(InputError, match="shape"):
        metric(torch.zeros(2, 3, 16, 16), torch.zeros(shape))
