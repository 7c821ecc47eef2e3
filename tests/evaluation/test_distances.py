"""Fréchet and kernel distances against their closed forms."""

import sys
import types

import pytest
import torch

from tests.denoisers.networks import diffusers_unet
from vml_fast.denoisers import EDMDenoiser, GaussianMixtureDenoiser
from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.errors import InputError
from vml_fast.evaluation.distances import (
    frechet_distance,
    inception_features,
    kernel_distance,
    prior_features,
)


def _sets(count=40, features=5):
    generator = torch.Generator().manual_seed(4)
    a = torch.randn(count, features, generator=generator, dtype=torch.float64)
    b = 1.5 * torch.randn(count + 7, features, generator=generator, dtype=torch.float64) + 0.3
    return a, b


def test_frechet_distance_is_the_formula_with_matrix_square_roots():
    linalg = pytest.importorskip("scipy.linalg")
    a, b = _sets()
    ca, cb = torch.cov(a.T).numpy(), torch.cov(b.T).numpy()
    mean = (a.mean(0) - b.mean(0)).square().sum()
    expected = float(mean) + (ca + cb - 2 * linalg.sqrtm(ca @ cb).real).trace()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_a_shift_is_its_square():
    a, _ = _sets()
    assert frechet_distance(a, a + 2.0) == pytest.approx(4.0 * 5, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)


def test_fewer_images_than_features():
    a, b = _sets(count=3, features=9)
    assert frechet_distance(a, b[:4]) > 0


def test_kernel_distance_is_the_mean_over_pairs():
    a, b = _sets(6)

    def k(x, y):
        return (float(x @ y) / 5 + 1) ** 3

    within = sum(
        k(s[i], s[j]) / (len(s) * (len(s) - 1))
        for s in (a, b) for i in range(len(s)) for j in range(len(s)) if i != j
    )  # fmt: skip
    across = sum(k(x, y) for x in a for y in b) / (len(a) * len(b))
    assert kernel_distance(a, b) == pytest.approx(within - 2 * across, rel=1e-9)


def test_pairs_of_one_image_are_left_out():
    a, _ = _sets(6)
    assert kernel_distance(a, a, paired=True) == pytest.approx(0.0, abs=1e-12)
    assert kernel_distance(a, a) < -0.1  # what they would add
    with pytest.raises(InputError, match="paired"):
        kernel_distance(a, a[:5], paired=True)


@pytest.mark.parametrize("shape", [(3,), (1, 5), (4, 6)])
def test_shapes_that_do_not_fit(shape):
    with pytest.raises(InputError, match="features have the shapes"):
        frechet_distance(torch.zeros(4, 5), torch.zeros(shape))


@pytest.mark.parametrize("factor", [1, 2])
def test_features_are_the_middle_block_of_the_prior(factor):
    pytest.importorskip("diffusers")
    channels = 3 * factor**2
    unet = diffusers_unet(in_channels=channels, out_channels=channels)
    network = unet if factor == 1 else PixelUnshuffled(unet, factor)
    prior = EDMDenoiser(network, (3, 8 * factor, 8 * factor))
    features = prior_features(prior, "tiny")
    images = torch.randn(3, 3, 8 * factor, 8 * factor)
    found = features.compute(images)
    assert found.shape == (3, 16)
    assert "tiny" in features.name
    torch.testing.assert_close(features.compute(images[1:2]), found[1:2], atol=1e-5, rtol=1e-4)
    assert not unet.mid_block._forward_hooks


def test_inception_sees_the_picture_in_8_bits(monkeypatch, tmp_path):
    """With a stand-in for torch-fidelity's network, whose weights cannot come along."""
    fidelity = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")

    class Network(torch.nn.Module):
        def __init__(self, name, wanted, feature_extractor_weights_path):
            super().__init__()
            assert wanted == ["2048"]
            torch.load(feature_extractor_weights_path, weights_only=True)

        def forward(self, images):
            assert images.dtype == torch.uint8
            return (images.flatten(1).double(),)

    fidelity.FeatureExtractorInceptionV3 = Network
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, fidelity.__name__, fidelity)
    path = tmp_path / "weights.pth"
    torch.save({}, path)
    features = inception_features(path)
    found = features.compute(torch.tensor([-1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 2, 2))
    assert found.tolist() == [[0.0, 128.0, 255.0, 255.0]]
    assert features.distances == ("fid", "kid")
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="does not hold"):
        inception_features(path)
    with pytest.raises(InputError, match="are no file"):
        inception_features(tmp_path / "nowhere.pth")


def test_no_features_without_a_middle_block():
    assert prior_features(GaussianMixtureDenoiser(torch.zeros(1, 4), 1.0), "mixture") is None
    assert prior_features(lambda x, sigma: x, "callable") is None
