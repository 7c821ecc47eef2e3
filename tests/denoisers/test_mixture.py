"""The mixture's D, J, Cov and log p_t against autograd, finite differences and quadrature."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from vml_fast.denoisers import GaussianMixture, GaussianMixtureDenoiser
from vml_fast.errors import InputError

from .problems import F64, distribution, grid, parameters, same_distribution

KINDS = ("isotropic", "diagonal", "full")
SIGMA = torch.tensor([0.05, 0.4, 1.3, 30.0], dtype=F64)


def case(kind: str, n: int = 4):
    """A denoiser, the same prior as a torch.distributions object, and points at several levels."""
    means, covariances, full, weights = parameters(n, kind=kind)
    denoiser = GaussianMixtureDenoiser(means, covariances, weights)
    prior = distribution(means, full, weights)
    x = prior.sample((len(SIGMA),)) + SIGMA[:, None] * torch.randn(len(SIGMA), n, dtype=F64)
    return denoiser, prior, x


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_equals_torch_distributions(kind) -> None:
    denoiser, _, x = case(kind)
    means, _, full, weights = parameters(kind=kind)
    for i, sigma in enumerate(SIGMA):
        noisy = distribution(means, full + sigma**2 * torch.eye(4, dtype=F64), weights)
        expected = noisy.log_prob(x[i])
        torch.testing.assert_close(denoiser.log_prob(x, SIGMA)[i], expected, rtol=1e-11, atol=0)
    prior = distribution(means, full, weights)
    torch.testing.assert_close(denoiser.mixture.log_prob(x), prior.log_prob(x), rtol=1e-11, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_tweedie(kind) -> None:
    """D = x + sigma² grad log p_t, by autograd."""
    denoiser, _, x = case(kind)
    x.requires_grad_()
    (score,) = torch.autograd.grad(denoiser.log_prob(x, SIGMA).sum(), x)
    expected = x + SIGMA.square()[:, None] * score
    torch.testing.assert_close(denoiser(x, SIGMA), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_jacobian_equals_autograd_and_finite_differences(kind) -> None:
    denoiser, _, x = case(kind)
    jacobian = denoiser.jacobian(x, SIGMA)
    for i in range(len(x)):
        point, level = x[i : i + 1], SIGMA[i : i + 1]
        by_autograd = torch.autograd.functional.jacobian(lambda z, s=level: denoiser(z, s), point)
        torch.testing.assert_close(jacobian[i], by_autograd[0, :, 0], rtol=1e-9, atol=1e-10)
        h = 1e-5 * level.item()
        steps = h * torch.eye(4, dtype=F64)
        levels = level.expand(4)
        columns = (denoiser(point + steps, levels) - denoiser(point - steps, levels)) / (2 * h)
        torch.testing.assert_close(jacobian[i], columns.mT, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(jacobian, jacobian.mT)
    assert torch.linalg.eigvalsh(jacobian).min() > -1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_denoising_moments_by_quadrature(kind) -> None:
    """D, Cov and p_t as integrals over x0 in two dimensions."""
    denoiser, prior, _ = case(kind, n=2)
    points, area = grid(-6, 6, 601)
    sigma = torch.tensor([0.3, 0.9], dtype=F64)
    x = torch.tensor([[0.4, -0.2], [-1.0, 0.7]], dtype=F64)
    for i in range(2):
        noise = MultivariateNormal(x[i], sigma[i] ** 2 * torch.eye(2, dtype=F64))
        mass = (prior.log_prob(points) + noise.log_prob(points)).exp() * area
        mean = mass @ points / mass.sum()
        covariance = torch.einsum("p,pi,pj->ij", mass / mass.sum(), points - mean, points - mean)
        close = {"rtol": 1e-6, "atol": 1e-8}
        torch.testing.assert_close(denoiser(x, sigma)[i], mean, **close)
        torch.testing.assert_close(denoiser.covariance(x, sigma)[i], covariance, **close)
        torch.testing.assert_close(denoiser.log_prob(x, sigma)[i], mass.sum().log(), **close)


@pytest.mark.parametrize("kind", KINDS)
def test_moments_and_samples(kind) -> None:
    denoiser, prior, _ = case(kind)
    mixture = denoiser.mixture
    torch.testing.assert_close(mixture.mean.flatten(), prior.mean)
    torch.testing.assert_close(mixture.covariance.diagonal(), prior.variance)
    torch.testing.assert_close(same_distribution(mixture).mean, prior.mean)
    samples = mixture.sample(40_000, generator=torch.Generator().manual_seed(1)).flatten(1)
    error = (samples.mean(0) - prior.mean).abs() / (prior.variance / len(samples)).sqrt()
    assert error.max() < 4
    torch.testing.assert_close(torch.cov(samples.mT), mixture.covariance, rtol=0.05, atol=0.02)
    again = mixture.sample(40_000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(samples, again.flatten(1))


def test_far_away_and_at_extreme_levels_everything_is_finite() -> None:
    denoiser, _, _ = case("full")
    x = torch.full((3, 4), 1e6, dtype=F64)
    sigma = torch.tensor([1e-6, 1.0, 1e4], dtype=F64)
    results = [f(x, sigma) for f in (denoiser, denoiser.log_prob, denoiser.jacobian)]
    assert all(result.isfinite().all() for result in results)
    mean = denoiser.mixture.mean.flatten()
    wide = denoiser(torch.zeros(1, 4, dtype=F64), torch.tensor([1e6], dtype=F64))
    torch.testing.assert_close(wide[0], mean, rtol=1e-6, atol=1e-6)
    x = denoiser.mixture.sample(1).flatten(1)
    torch.testing.assert_close(denoiser(x, torch.tensor([1e-6], dtype=F64)), x, atol=1e-9, rtol=0)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    denoiser, _, x = case("full")
    alone = torch.cat([denoiser(x[i : i + 1], SIGMA[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(denoiser(x, SIGMA), alone, rtol=1e-13, atol=1e-13)


def test_images_flat_vectors_and_dtypes() -> None:
    means, covariances, _, weights = parameters(n=12)
    shape = (3, 2, 2)
    flat = GaussianMixtureDenoiser(means, covariances, weights, image_shape=shape)
    images = GaussianMixtureDenoiser(means.reshape(-1, *shape), covariances, weights)
    assert flat.image_shape == images.image_shape == shape
    assert GaussianMixture(means, 0.1).image_shape == (1, 1, 12)
    x = torch.randn(2, 12, dtype=F64)
    sigma = SIGMA[:2]
    assert torch.equal(flat(x, sigma).reshape(2, *shape), images(x.reshape(2, *shape), sigma))
    single = flat(x.float(), sigma.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), flat(x, sigma), rtol=1e-5, atol=1e-5)
    assert flat.log_prob(x.float(), sigma.float()).dtype == torch.float32
    assert images.modes().shape[1:] == shape
    assert images.mixture.sample(5).shape == (5, *shape)


def test_singular_covariances_still_denoise() -> None:
    """A point mass mixture: D is the softmax average of the points."""
    points = torch.tensor([[0.0, 1.0], [2.0, 0.0], [-1.0, -1.0]], dtype=F64)
    denoiser = GaussianMixtureDenoiser(points, 0.0)
    x, sigma = torch.tensor([[0.5, 0.4]], dtype=F64), torch.tensor([0.8], dtype=F64)
    weights = torch.softmax(-((x - points) ** 2).sum(1) / (2 * 0.8**2), 0)
    torch.testing.assert_close(denoiser(x, sigma)[0], weights @ points)
    assert denoiser.log_prob(x, sigma).isfinite().all()


def test_weights_are_normalized_and_may_be_zero() -> None:
    means, covariances, _, weights = parameters()
    doubled = GaussianMixtureDenoiser(means, covariances, 2 * weights)
    torch.testing.assert_close(doubled.mixture.weights, weights)
    two = GaussianMixtureDenoiser(means, covariances, [0.5, 0.5, 0.0])
    other = GaussianMixtureDenoiser(means[:2], covariances[:2])
    x, sigma = torch.randn(3, 4, dtype=F64), torch.ones(3, dtype=F64)
    torch.testing.assert_close(two(x, sigma), other(x, sigma))
    torch.testing.assert_close(two.jacobian(x, sigma), other.jacobian(x, sigma))
    assert len(two.modes()) == len(other.modes())


MEANS = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            {"means": torch.zeros(3)},
            r"means must have shape \(K, n\) or \(K, C, H, W\), got \(3,\)",
        ),
        ({"means": torch.zeros(0, 3)}, "means"),
        ({"means": "cats"}, "means must be an array of numbers"),
        ({"means": torch.full((2, 3), math.nan)}, "means must be finite"),
        ({"covariances": -1.0}, "covariances must be positive semi-definite"),
        ({"covariances": torch.diag_embed(torch.tensor([[1.0, 1.0, -1.0]] * 2))}, "semi-definite"),
        ({"covariances": torch.zeros(2, 2)}, r"covariances must have shape .* got \(2, 2\)"),
        ({"covariances": torch.ones(2, 3, 3).triu()}, "symmetric"),
        ({"covariances": math.inf}, "covariances must be finite"),
        ({"weights": [1.0]}, r"weights must have shape \(2,\), got \(1,\)"),
        ({"weights": [1.0, -0.5]}, "weights must be at least 0"),
        ({"weights": [0.0, 0.0]}, "positive sum"),
        ({"image_shape": (1, 2, 2)}, "image_shape"),
        ({"sigma_min": -1.0}, "sigma_min"),
    ],
)
def test_bad_arguments(arguments, named) -> None:
    with pytest.raises(InputError, match=named):
        GaussianMixtureDenoiser(**{"means": MEANS, "covariances": 1.0} | arguments)


def test_bad_shapes_of_a_call() -> None:
    denoiser = GaussianMixtureDenoiser(MEANS, 1.0)
    with pytest.raises(InputError, match=r"x must have shape \(B, 3\) or \(B, 1, 1, 3\), got"):
        denoiser(torch.zeros(2, 4), torch.ones(2))
    with pytest.raises(InputError, match=r"sigma must have shape \(2,\), got \(1,\)"):
        denoiser(torch.zeros(2, 3), torch.ones(1))
