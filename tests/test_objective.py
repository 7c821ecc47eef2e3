"""The VML value against Monte Carlo, its gradients against finite differences, in float64."""

import math

import pytest
import torch

from tests.denoisers.numerics import finite_differences, relative_error
from tests.denoisers.problems import F64, DenseOperator, mixture_denoiser, same_distribution
from vml_fast.denoisers import EDMDenoiser, GaussianMixtureDenoiser
from vml_fast.errors import InputError
from vml_fast.objective import exact_traces, vml, vml_gradient, vml_simplified

SHAPE = (1, 2, 3)
N = math.prod(SHAPE)
SIGMA = torch.tensor([0.1, 0.5, 2.0], dtype=F64)
STEP = 1e-5 * SIGMA
"""Of finite differences."""
NOISE = torch.tensor([0.3, 0.05, 0.7], dtype=F64)


@pytest.fixture
def prior() -> GaussianMixtureDenoiser:
    return mixture_denoiser(SHAPE)


@pytest.fixture(params=[2, 8], ids=["m < n", "m > n"])
def operator(request) -> DenseOperator:
    matrix = torch.randn(request.param, N, generator=torch.Generator().manual_seed(7), dtype=F64)
    return DenseOperator(matrix / 2, SHAPE)


def state(prior, operator):
    """Measurements, and states at the levels of SIGMA."""
    generator = torch.Generator().manual_seed(11)
    clean = prior.mixture.sample(len(SIGMA), generator=generator)
    y = operator.forward(clean)
    y = y + NOISE[:, None] * torch.randn(y.shape, generator=generator, dtype=F64)
    noise = torch.randn(clean.shape, generator=generator, dtype=F64)
    return y, clean + SIGMA.reshape(-1, 1, 1, 1) * noise


def test_value_is_the_divergence_by_monte_carlo(prior, operator) -> None:
    """KL(p(x0|x_t) || p(x0|y)) from samples, within three standard errors."""
    y, x = state(prior, operator)
    evidence = torch.tensor(
        [prior.mixture.log_evidence(operator, y[i], NOISE[i]) for i in range(3)], dtype=F64
    )
    value = vml(prior, operator, y, x, SIGMA, NOISE, prior.log_prob, log_evidence=evidence)
    identity = DenseOperator(torch.eye(N, dtype=F64), SHAPE)
    for i in range(3):
        denoising = same_distribution(prior.posterior(identity, x[i].flatten(), SIGMA[i]))
        posterior = same_distribution(prior.posterior(operator, y[i], NOISE[i]))
        samples = denoising.sample((40_000,))
        terms = denoising.log_prob(samples) - posterior.log_prob(samples)
        standard_error = terms.std() / len(terms) ** 0.5
        assert abs(terms.mean() - value[i]) < 3 * standard_error
        assert standard_error < 0.03 * value[i]  # the comparison means something


def test_the_divergence_vanishes_where_both_posteriors_agree() -> None:
    """With H = I and y = x_t at the same noise level both sides are the same distribution."""
    prior = mixture_denoiser(SHAPE)
    identity = DenseOperator(torch.eye(N, dtype=F64), SHAPE)
    _, x = state(prior, identity)
    y = x.flatten(1)
    evidence = prior.log_prob(x, SIGMA)
    value = vml(prior, identity, y, x, SIGMA, SIGMA, prior.log_prob, log_evidence=evidence)
    torch.testing.assert_close(value, torch.zeros(3, dtype=F64), rtol=0, atol=1e-10)


def test_gradient_equals_finite_differences_of_the_simplified_value(prior, operator) -> None:
    y, x = state(prior, operator)

    def value(z):
        return vml_simplified(prior, operator, y, z, SIGMA, NOISE, prior.log_prob)

    gradient = vml_gradient(prior, operator, y, x, SIGMA, NOISE)
    assert relative_error(gradient, finite_differences(value, x, STEP)) < 1e-6


def test_gradient_of_the_full_value_equals_finite_differences(prior, operator) -> None:
    y, x = state(prior, operator)

    def value(z):
        return vml(prior, operator, y, z, SIGMA, NOISE, prior.log_prob)

    x.requires_grad_()
    (gradient,) = torch.autograd.grad(value(x).sum(), x)
    with torch.no_grad():
        expected = finite_differences(value, x, STEP)
    assert relative_error(gradient, expected) < 1e-6
    simplified = vml_gradient(prior, operator, y, x, SIGMA, NOISE)
    assert relative_error(simplified, expected) > 1e-3  # the traces do matter


def test_exact_traces_equal_the_closed_form(prior, operator) -> None:
    _, x = state(prior, operator)
    covariance = prior.covariance(x, SIGMA)
    measured = operator.matrix @ covariance @ operator.matrix.mT
    trace, measured_trace = exact_traces(prior, operator, x, SIGMA)
    for actual, matrix in ((trace, covariance), (measured_trace, measured)):
        expected = matrix.diagonal(dim1=1, dim2=2).sum(1)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    assert not trace.requires_grad


def test_traces_may_be_given(prior, operator) -> None:
    y, x = state(prior, operator)
    arguments = (prior, operator, y, x, SIGMA, NOISE, prior.log_prob)
    exact = vml(*arguments)
    assert torch.equal(exact, vml(*arguments, traces=exact_traces))
    none = vml(*arguments, traces=lambda *_: (torch.zeros(3, dtype=F64),) * 2)
    assert torch.equal(none, vml_simplified(*arguments))


def test_gradient_of_a_network_equals_its_formula() -> None:
    """Any denoiser: -Jᵀ of the bracket, with the Jacobian of a network built by autograd."""
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Tanh())
    network = network.append(torch.nn.Conv2d(4, 1, 3, padding=1)).double()
    denoiser = EDMDenoiser(lambda u, noise, shift=0.0: network(u) + shift, SHAPE)
    network.requires_grad_(False)
    operator = DenseOperator(torch.randn(4, N, dtype=F64), SHAPE)
    x, y = torch.randn(3, *SHAPE, dtype=F64), torch.randn(3, 4, dtype=F64)
    gradient = vml_gradient(denoiser, operator, y, x, SIGMA, 0.2, shift=0.3)
    for i in range(3):
        level, point = SIGMA[i : i + 1], x[i : i + 1]

        def denoise(z, s=level):
            return denoiser(z, s, shift=0.3)

        jacobian = torch.autograd.functional.jacobian(denoise, point).reshape(N, N)
        clean = denoise(point)
        bracket = (clean - point) / level**2
        bracket = bracket + operator.adjoint(y[i : i + 1] - operator.forward(clean)) / 0.2**2
        expected = -jacobian.mT @ bracket.flatten()
        torch.testing.assert_close(gradient[i].flatten(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("noise_std", [1e-9, 1e-18, 1e3])
def test_gradient_at_extreme_noise_is_finite_in_single_precision(prior, noise_std) -> None:
    operator = DenseOperator(torch.randn(2, N, dtype=F64) / 2, SHAPE)
    y, x = state(prior, operator)
    exact = vml_gradient(prior, operator, y, x, SIGMA, noise_std)
    single = vml_gradient(prior, operator, y.float(), x.float(), SIGMA.float(), noise_std)
    assert single.dtype == torch.float32
    assert relative_error(single.double(), exact) < 1e-3


def test_bad_arguments(prior) -> None:
    operator = DenseOperator(torch.randn(2, N, dtype=F64), SHAPE)
    y, x = state(prior, operator)
    for noise_std in (0.0, -0.1, math.nan, torch.tensor([0.1, 0.0, 0.1])):
        with pytest.raises(InputError, match="noise_std must be > 0"):
            vml_gradient(prior, operator, y, x, SIGMA, noise_std)
        with pytest.raises(InputError, match="noise_std must be > 0"):
            vml(prior, operator, y, x, SIGMA, noise_std, prior.log_prob)
    with pytest.raises(
        InputError, match=r"traces must be one of exact, hutchinson, .* or a function, got 'all'"
    ):
        vml(prior, operator, y, x, SIGMA, NOISE, prior.log_prob, traces="all")
    large = torch.zeros(1, 3, 64, 64)
    with pytest.raises(InputError, match="x must have at most 4096 entries for exact traces"):
        exact_traces(prior, operator, large, SIGMA[:1])
