"""Estimates of the traces against the exact ones; gradients against finite differences."""

import pytest
import torch

from tests.denoisers.numerics import finite_differences, relative_error
from tests.denoisers.problems import F64, DenseOperator, mixture_denoiser
from tests.test_objective import NOISE, SHAPE, SIGMA, STEP, N, state
from vml_fast.covariance_traces import (
    TRACES,
    exact_traces,
    hutch_plus_plus,
    hutchinson,
    trace_gradient,
)
from vml_fast.denoisers import EDMDenoiser, GaussianMixtureDenoiser
from vml_fast.errors import InputError
from vml_fast.objective import vml, vml_gradient


def problem(rows=3):
    matrix = torch.randn(rows, N, generator=torch.Generator().manual_seed(7), dtype=F64)
    prior, operator = mixture_denoiser(SHAPE), DenseOperator(matrix / 2, SHAPE)
    return prior, operator, *state(prior, operator)


def weighted(operator, a, b):
    """The product with a HᵀH - b I, a and b numbers or (B,)."""
    a, b = (torch.as_tensor(each, dtype=F64).reshape(-1, 1, 1, 1) for each in (a, b))
    return lambda u: a * operator.adjoint(operator.forward(u)) - b * u


@pytest.mark.parametrize("estimate", [hutchinson, hutch_plus_plus], ids=["hutchinson", "hutch++"])
def test_estimates_are_unbiased(estimate) -> None:
    """The mean over seeds is the exact trace, within four standard errors."""
    prior, operator, _, x = problem()
    exact = torch.stack(exact_traces(prior, operator, x, SIGMA))
    runs = torch.stack(
        [torch.stack(estimate(3, seed=seed)(prior, operator, x, SIGMA)) for seed in range(100)]
    )
    error = runs.std(0) / len(runs) ** 0.5
    assert bool(((runs.mean(0) - exact).abs() < 4 * error + 1e-12).all())
    assert bool((error < 0.2 * exact).all())


def test_hutchinson_is_exact_where_the_jacobian_is_diagonal() -> None:
    """One component with a diagonal covariance: random signs square to one."""
    prior = GaussianMixtureDenoiser(
        torch.zeros(1, N, dtype=F64), torch.rand(1, N, dtype=F64) + 0.1, image_shape=SHAPE
    )
    operator = DenseOperator(torch.diag(torch.rand(N, dtype=F64)), SHAPE)
    x = torch.randn(3, *SHAPE, dtype=F64)
    for actual, expected in zip(
        hutchinson(1)(prior, operator, x, SIGMA),
        exact_traces(prior, operator, x, SIGMA),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)


def test_hutch_plus_plus_is_exact_up_to_its_rank() -> None:
    """A sketch of all n dimensions leaves nothing to estimate; a smaller one does."""
    prior, operator, _, x = problem()
    exact = torch.stack(exact_traces(prior, operator, x, SIGMA))
    whole = torch.stack(hutch_plus_plus(3 * N)(prior, operator, x, SIGMA))
    torch.testing.assert_close(whole, exact, rtol=1e-9, atol=0)
    part = torch.stack(hutch_plus_plus(3)(prior, operator, x, SIGMA))
    assert not torch.allclose(part, exact, rtol=1e-6)


def test_hutch_plus_plus_beats_hutchinson_on_a_jacobian_of_low_rank() -> None:
    spread = torch.full((1, 24), 1e-3, dtype=F64)
    spread[:, :3] = 1.0
    turn = torch.linalg.qr(torch.randn(24, 24, dtype=F64)).Q
    covariance = turn @ torch.diag_embed(spread) @ turn.mT
    prior = GaussianMixtureDenoiser(
        torch.zeros(1, 24, dtype=F64), covariance, image_shape=(1, 4, 6)
    )
    operator = DenseOperator(torch.eye(24, dtype=F64), (1, 4, 6))
    x, sigma = torch.randn(1, 1, 4, 6, dtype=F64), torch.tensor([0.3], dtype=F64)
    exact = exact_traces(prior, operator, x, sigma)[0]

    def error(estimate):
        runs = [estimate(12, seed=s)(prior, operator, x, sigma)[0] for s in range(60)]
        return float((torch.stack(runs) - exact).square().mean().sqrt())

    assert error(hutch_plus_plus) < 0.1 * error(hutchinson)


def test_signs_belong_to_the_sample_and_the_seed() -> None:
    prior, operator, _, x = problem()
    whole = torch.stack(hutchinson(2, seed=3)(prior, operator, x, SIGMA))
    part = hutchinson(2, seed=3, sample_index=[1, 2])(prior, operator, x[1:], SIGMA[1:])
    torch.testing.assert_close(torch.stack(part), whole[:, 1:], rtol=1e-12, atol=0)
    for other in (hutchinson(2, seed=4), hutchinson(2, seed=3, draw=1)):
        assert not torch.allclose(torch.stack(other(prior, operator, x, SIGMA)), whole)


@pytest.mark.parametrize("name", TRACES)
def test_the_step_is_that_of_the_full_loss(name) -> None:
    """The step of VML_S minus the traces' share is -step size times the gradient of the value."""
    prior, operator, y, x = problem()

    def value(z):
        return vml(prior, operator, y, z, SIGMA, NOISE, prior.log_prob, traces=name)

    total = SIGMA.square() + NOISE.square()
    a, b = SIGMA.square() / total, NOISE.square() / total
    size = (a * NOISE.square()).reshape(-1, 1, 1, 1)
    simplified = size * vml_gradient(prior, operator, y, x, SIGMA, NOISE)
    added = trace_gradient(TRACES[name], prior, weighted(operator, a, b), x, SIGMA)
    if name == "hutch++":
        # Its sketch moves with x in the value, but is held in the gradient.
        leaf = x.clone().requires_grad_(True)
        (whole,) = torch.autograd.grad(value(leaf).sum(), leaf)
        expected = size * whole
    else:
        with torch.no_grad():
            expected = size * finite_differences(value, x, STEP)
    assert relative_error(simplified + added, expected) < 1e-6
    assert relative_error(simplified, expected) > 1e-3


@pytest.mark.parametrize("estimate", [hutchinson, hutch_plus_plus], ids=["hutchinson", "hutch++"])
def test_gradients_of_the_estimates_are_unbiased(estimate) -> None:
    prior, operator, _, x = problem()
    metric = weighted(operator, 0.7, 0.3)
    exact = trace_gradient(exact_traces, prior, metric, x, SIGMA)
    runs = torch.stack(
        [trace_gradient(estimate(3, seed=s), prior, metric, x, SIGMA) for s in range(100)]
    )
    error = runs.std(0) / len(runs) ** 0.5
    assert bool(((runs.mean(0) - exact).abs() < 4.5 * error + 1e-12).all())


def test_the_gradient_is_finite_without_noise() -> None:
    prior, operator, _, x = problem()
    found = trace_gradient(hutchinson(2), prior, weighted(operator, 1.0, 0.0), x, SIGMA)
    assert bool(torch.isfinite(found).all())
    assert not found.requires_grad


def test_a_network_takes_second_derivatives() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Tanh())
    network = network.append(torch.nn.Conv2d(4, 1, 3, padding=1)).double()
    prior = EDMDenoiser(lambda u, noise: network(u), SHAPE)
    operator = DenseOperator(torch.randn(2, N, dtype=F64), SHAPE)
    x = torch.randn(3, *SHAPE, dtype=F64)

    def value(z):
        covariance, measured = exact_traces(prior, operator, z, SIGMA)
        return (0.4 * measured - 0.6 * covariance) / 2

    found = trace_gradient(exact_traces, prior, weighted(operator, 0.4, 0.6), x, SIGMA)
    assert relative_error(found, finite_differences(value, x, STEP)) < 1e-6


def test_attention_takes_second_derivatives() -> None:
    """Whose fused forms have none on some devices."""
    torch.manual_seed(3)
    weight = torch.randn(3, 4, 1, dtype=F64)

    def denoise(x, sigma):
        tokens = x.flatten(1)[:, None, :, None]  # (B, heads, tokens, 1)
        q, k, v = (tokens @ w.T for w in weight)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return x + mixed.mean(-1).reshape(x.shape)

    operator = DenseOperator(torch.randn(2, N, dtype=F64), SHAPE)
    x = torch.randn(3, *SHAPE, dtype=F64)

    def value(z):
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return exact_traces(denoise, operator, z, SIGMA)[0] / 2

    found = trace_gradient(exact_traces, denoise, lambda u: u, x, SIGMA)
    assert relative_error(found, finite_differences(value, x, STEP)) < 1e-6


def test_a_constant_jacobian_has_no_gradient() -> None:
    x = torch.randn(3, *SHAPE, dtype=F64)
    found = trace_gradient(hutchinson(2), lambda x, sigma: 0.3 * x, lambda u: u, x, SIGMA)
    assert torch.equal(found, torch.zeros_like(x))


@pytest.mark.parametrize("probes", [0, -1, 2.5, True])
def test_bad_probes(probes) -> None:
    with pytest.raises(InputError, match=r"probes is .*; it must be a whole number"):
        hutchinson(probes)
    with pytest.raises(InputError, match=r"probes is .*; it must be a whole number"):
        hutch_plus_plus(probes)


def test_hutch_plus_plus_wants_thirds() -> None:
    with pytest.raises(InputError, match="multiple of 3"):
        hutch_plus_plus(4)
