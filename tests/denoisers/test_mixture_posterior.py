"""The exact posterior against quadrature, importance sampling, and its own noiseless limit."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from vml_fast.denoisers import GaussianMixture
from vml_fast.errors import InputError

from .problems import F64, DenseOperator, distribution, grid, parameters, same_distribution


def mixture(n: int, kind: str = "full") -> GaussianMixture:
    means, covariances, _, weights = parameters(n, kind=kind)
    return GaussianMixture(means, covariances, weights)


def operator(rows: int, n: int, rank: int | None = None) -> DenseOperator:
    generator = torch.Generator().manual_seed(rows)
    matrix = torch.randn(rows, n, generator=generator, dtype=F64)
    if rank is not None:
        u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
        matrix = u[:, :rank] * s[:rank] @ vt[:rank]
    return DenseOperator(matrix, (1, 1, n))


def measure(prior: GaussianMixture, h: DenseOperator, noise_std: float) -> torch.Tensor:
    x = prior.sample(1, generator=torch.Generator().manual_seed(3))
    return (h.forward(x) + noise_std * torch.randn(1, len(h.matrix), dtype=F64))[0]


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("kind", ["isotropic", "full"])
def test_posterior_by_quadrature(rows, kind) -> None:
    """Two pixels; fewer, as many and more measurements than pixels."""
    prior, h, noise_std = mixture(2, kind), operator(rows, 2), 0.4
    y = measure(prior, h, noise_std)
    posterior = prior.posterior(h, y, noise_std)
    points, area = grid(-7, 7, 1201)
    likelihood = Normal(h.forward(points), noise_std).log_prob(y).sum(1)
    joint = same_distribution(prior).log_prob(points) + likelihood
    mass = joint.exp() * area
    mean = mass @ points / mass.sum()
    covariance = torch.einsum("p,pi,pj->ij", mass / mass.sum(), points - mean, points - mean)
    torch.testing.assert_close(posterior.mean.flatten(), mean, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(posterior.covariance, covariance, rtol=1e-7, atol=1e-9)
    log_evidence = mass.sum().log()
    assert prior.log_evidence(h, y, noise_std) == pytest.approx(log_evidence.item(), abs=1e-8)
    expected = joint[::50] - log_evidence
    torch.testing.assert_close(posterior.log_prob(points[::50]), expected, rtol=1e-7, atol=1e-7)


def test_posterior_by_importance_sampling() -> None:
    prior, h, noise_std = mixture(4), operator(2, 4), 0.5
    y = measure(prior, h, noise_std)
    posterior = prior.posterior(h, y, noise_std)
    x = prior.sample(200_000, generator=torch.Generator().manual_seed(5)).flatten(1)
    weights = Normal(h.forward(x), noise_std).log_prob(y).sum(1).exp()
    weights /= weights.sum()
    mean = weights @ x
    spread = (weights.square() @ (x - mean).square()).sqrt()  # standard error of the weighted mean
    assert ((mean - posterior.mean.flatten()).abs() / spread).max() < 3.5


@pytest.mark.parametrize(
    ("rows", "rank"), [(2, None), (4, None), (6, None), (3, 2), (6, 3)], ids=str
)
def test_noiseless_posterior_is_the_limit_and_fits_the_measurement(rows, rank) -> None:
    prior, h = mixture(4), operator(rows, 4, rank)
    y = measure(prior, h, 0.0)
    exact = prior.posterior(h, y, 0.0)
    limit = prior.posterior(h, y, 1e-6)
    torch.testing.assert_close(exact.means, limit.means, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(exact.covariances, limit.covariances, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(exact.weights, limit.weights, rtol=1e-5, atol=1e-9)
    samples = exact.sample(50)
    torch.testing.assert_close(h.forward(samples), y.expand(50, -1), rtol=1e-12, atol=1e-12)


def test_noiseless_weights_by_quadrature_along_the_line() -> None:
    """Two pixels, one exact measurement: the posterior lives on a line."""
    prior, h = mixture(2), operator(1, 2)
    y = measure(prior, h, 0.0)
    posterior = prior.posterior(h, y, 0.0)
    row = h.matrix[0]
    origin, along = row * y / row.square().sum(), torch.stack([-row[1], row[0]]) / row.norm()
    t = torch.linspace(-8, 8, 20_001, dtype=F64)
    points = origin + t[:, None] * along
    mass = same_distribution(prior).log_prob(points).exp()
    mass /= mass.sum()
    torch.testing.assert_close(posterior.mean.flatten(), mass @ points, rtol=1e-6, atol=1e-8)
    density = posterior.log_prob(points[::100])  # on the support, though covariances are singular
    expected = (mass / (t[1] - t[0])).log()[::100]
    torch.testing.assert_close(density, expected, rtol=1e-6, atol=1e-6)


def test_evidence_equals_the_marginal_density() -> None:
    means, covariances, _, weights = parameters(4)
    prior = GaussianMixture(means, covariances, weights)
    for h, noise_std in ((operator(2, 4), 0.0), (operator(2, 4), 0.3), (operator(6, 4, 3), 0.3)):
        y = measure(prior, h, noise_std)
        total = h.matrix @ covariances @ h.matrix.mT
        total = total + noise_std**2 * torch.eye(len(y), dtype=F64)
        marginal = distribution(means @ h.matrix.mT, total, weights)
        expected = marginal.log_prob(y).item()
        assert prior.log_evidence(h, y, noise_std) == pytest.approx(expected, rel=1e-9)


def test_small_singular_values_are_well_conditioned() -> None:
    """H = diag(1, 1e-9) tells all about x0 when there is no noise."""
    prior = mixture(2)
    h = DenseOperator(torch.diag(torch.tensor([1.0, 1e-9], dtype=F64)), (1, 1, 2))
    x = torch.tensor([[0.3, -0.4]], dtype=F64)
    posterior = prior.posterior(h, h.forward(x)[0], 0.0)
    torch.testing.assert_close(posterior.mean.flatten(), x[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(posterior.modes().flatten(), x[0], rtol=1e-6, atol=1e-6)
    with pytest.raises(InputError, match="one point has no density"):
        posterior.log_prob(x)


def test_a_gaussian_gives_the_textbook_posterior() -> None:
    prior, noise_std = GaussianMixture(torch.ones(1, 3), 2.0), 0.5
    y = torch.tensor([0.2, -1.0, 3.0], dtype=F64)
    posterior = prior.posterior(DenseOperator(torch.eye(3, dtype=F64), (1, 1, 3)), y, noise_std)
    gain = 2.0 / (2.0 + noise_std**2)
    torch.testing.assert_close(posterior.mean.flatten(), 1 + gain * (y - 1))
    eye = torch.eye(3, dtype=F64)
    torch.testing.assert_close(posterior.covariance, gain * noise_std**2 * eye)
    sure = MultivariateNormal(posterior.mean.flatten(), posterior.covariance)
    torch.testing.assert_close(posterior.log_prob(y[None])[0], sure.log_prob(y))


def test_bad_arguments() -> None:
    prior, h = mixture(4), operator(2, 4)
    y = torch.zeros(2, dtype=F64)
    for noise_std in (-0.1, math.nan, math.inf):
        with pytest.raises(InputError, match="noise_std must be finite and at least 0"):
            prior.posterior(h, y, noise_std)
    with pytest.raises(
        InputError, match=r"y must be one measurement of shape \(2,\), got \(3, 2\)"
    ):
        prior.posterior(h, torch.zeros(3, 2), 0.1)
    with pytest.raises(InputError, match="y must be finite"):
        prior.posterior(h, y + math.nan, 0.1)
    with pytest.raises(InputError, match="operator must act on images of shape"):
        mixture(2).posterior(h, y, 0.1)
    with pytest.raises(InputError, match="noise_std must be > 0 where a covariance is singular"):
        GaussianMixture(torch.zeros(2, 4), 0.0).posterior(h, y, 0.0)
    with pytest.raises(InputError, match="noise_std must be > 0 for log p"):
        prior.log_evidence(operator(3, 4, 2), torch.zeros(3, dtype=F64), 0.0)
    batched = prior.posterior(h, y[None], 0.1)
    assert torch.equal(batched.means, prior.posterior(h, y, 0.1).means)
