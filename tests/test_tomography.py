"""The worked example of tomography: its matrix is Radon's, and its restorations are better."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import vml_fast as vf
from vml_fast.denoisers import GaussianMixtureDenoiser

skimage = pytest.importorskip("skimage")
pytest.importorskip("matplotlib")
pytest.importorskip("torchmetrics")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).parents[1] / "examples" / "tomography.py"
    spec = importlib.util.spec_from_file_location("tomography", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", [15, 16])
def test_the_matrix_is_scikit_image_s_radon_transform(example: ModuleType, size: int) -> None:
    degrees = np.array([0.0, 13.0, 45.0, 90.0, 121.7, 180.0])
    image = np.random.default_rng(0).random((size, size))
    image[np.hypot(*(np.mgrid[:size, :size] - size // 2)) > size // 2] = 0.0
    expected = skimage.transform.radon(image, theta=degrees, circle=True)
    matrix = example.radon_matrix(size, degrees)
    np.testing.assert_allclose(matrix @ image.ravel(), expected.ravel(), rtol=0, atol=1e-12)
    assert bool((matrix.data > 0).all()) and matrix.has_canonical_format


def _smooth_prior(size: int) -> GaussianMixtureDenoiser:
    line = np.exp(-np.abs(np.subtract.outer(np.arange(size), np.arange(size))) / 3.0)
    covariance = torch.from_numpy(0.4 * np.kron(line, line))[None]
    mean = torch.full((1, size**2), 0.6)
    return GaussianMixtureDenoiser(mean, covariance, image_shape=(1, size, size))


def test_a_small_slice_is_restored_to_the_posterior_s_mean(example: ModuleType) -> None:
    """The posterior of a Gaussian prior is Gaussian: its mode is its mean, in closed form."""
    size, prior = 16, _smooth_prior(16)
    measured = example.scan(size, angles=8, noise=0.01)
    settings = {"steps": 20, "inner_steps": 20, "prior_weight": 1.0}
    found, result = example.restored(measured, prior, **settings)
    assert type(result.image) is np.ndarray and result.image.dtype == np.float32

    A, noise = measured.matrix.toarray(), measured.noise_std
    mean, covariance = (p.numpy() for p in (prior.mixture.means[0], prior.mixture.covariance))
    mean, covariance = (1.0 - mean) / 2.0, covariance / 4.0  # of the attenuation
    gain = covariance @ A.T @ np.linalg.inv(A @ covariance @ A.T + noise**2 * np.eye(len(A)))
    exact = (mean + gain @ (measured.sinogram.ravel() - A @ mean)).reshape(size, size)
    error = abs(found["VML-MAP"] - exact)
    assert error.mean() < 0.015 and error.max() < 0.06


@pytest.mark.slow
def test_the_emoji_prior_does_better_than_filtered_back_projection(example: ModuleType) -> None:
    measured = example.scan(64, angles=20, noise=0.005)
    prior = example.GrayPrior(vf.load_denoiser("emoji64"))
    found, _ = example.restored(measured, prior, steps=20, inner_steps=3)
    scores = example.scores(example.classical(measured) | found, measured.attenuation)
    for name in ("filtered back-projection", "pseudo-inverse"):
        assert scores["VML-MAP"]["psnr"] > scores[name]["psnr"] + 3.0


def test_the_command_writes_a_figure_and_a_record(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    few = ["--angles", "2", "--steps", "2", "--inner-steps", "1"]
    example.main(["--output", str(tmp_path), *few])
    record = json.loads((tmp_path / "tomography.json").read_text())
    assert record["matrix"]["shape"] == [128, 4096]
    assert record["network_passes"] == 6
    assert set(record["methods"]["VML-MAP"]) == {"psnr", "ssim"}
    assert (tmp_path / "tomography.png").read_bytes().startswith(b"\x89PNG")
    assert "filtered back-projection" in capsys.readouterr().out
