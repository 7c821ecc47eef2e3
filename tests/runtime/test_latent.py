"""The latent data terms against finite differences and dense matrices, in float64."""

from __future__ import annotations

import pytest
import torch

from tests.denoisers.linear_autoencoder import F64
from tests.solvers.latent_problems import LatentProblem
from vml_fast.denoisers import Autoencoder, GaussianMixtureDenoiser, LatentDenoiser
from vml_fast.operators import MatrixOperator
from vml_fast.runtime.latent import GaussNewtonTerm, GradientTerm, ReencodingTerm

SIGMA = torch.tensor(0.3, dtype=F64)


class CurvedModel:
    """A decoder that bends: W tanh(V l)."""

    def __init__(self):
        generator = torch.Generator().manual_seed(2)
        self.inner = torch.randn(10, 4, generator=generator, dtype=F64)
        self.outer = torch.randn(9, 10, generator=generator, dtype=F64) / 3.0

    def decode(self, latents):
        hidden = torch.tanh(latents.flatten(1) @ self.inner.T.to(latents))
        return (hidden @ self.outer.T.to(latents)).reshape(-1, 1, 3, 3)

    def encode(self, images):
        return images.flatten(1)[:, :4].reshape(-1, 1, 2, 2)


def curved_problem():
    generator = torch.Generator().manual_seed(4)
    means = 0.5 * torch.randn(3, 4, generator=generator, dtype=F64)
    covariance = (0.05 * torch.eye(4, dtype=F64)).expand(3, 4, 4).contiguous()
    denoiser = GaussianMixtureDenoiser(means, covariance, image_shape=(1, 2, 2))
    prior = LatentDenoiser(denoiser, Autoencoder(CurvedModel(), (1, 3, 3), scaling_factor=0.7))
    operator = MatrixOperator(torch.randn(5, 9, generator=generator, dtype=F64), (1, 3, 3))
    z = torch.randn(2, 1, 2, 2, generator=generator, dtype=F64)
    y = torch.randn(2, 5, generator=generator, dtype=F64)
    return prior, operator, z, y


def loss(prior, operator, z, y, noise_std):
    """VML_S of z: - log p(z) - |D - z|^2 / (2 sigma^2) + |y - H Dec(D)|^2 / (2 sigma_y^2)."""
    denoised = prior(z, SIGMA.expand(len(z)))
    evidence = prior.denoiser.log_prob(z, SIGMA.expand(len(z)))
    near = (denoised - z).square().flatten(1).sum(1) / (2 * SIGMA**2)
    error = y - operator.forward(prior.decode(denoised))
    return -evidence - near + error.square().flatten(1).sum(1) / (2 * noise_std**2)


def test_the_step_is_the_gradient_of_the_loss_by_finite_differences():
    prior, operator, z, y = curved_problem()
    noise_std = torch.full((2,), 0.4, dtype=F64)
    term = GradientTerm(prior, operator, y, noise_std, autoencoder_std=0.0, prior_weight=1.0)
    leaf = z.clone().requires_grad_(True)
    denoised = prior(leaf, SIGMA.expand(2))
    term.set_level(SIGMA, denoised.detach())
    v = term(denoised.detach(), z)
    (step,) = torch.autograd.grad(denoised, leaf, v)
    size = (SIGMA**2 * 0.16 / term.total).reshape(-1, 1, 1, 1)
    numeric = torch.zeros_like(z)
    for i in range(4):
        move = torch.zeros_like(z)
        move.view(2, 4)[:, i] = 1e-5
        ahead, behind = (loss(prior, operator, z + sign * move, y, 0.4) for sign in (1.0, -1.0))
        numeric.view(2, 4)[:, i] = (ahead - behind) / 2e-5
    torch.testing.assert_close(step, -size * numeric, rtol=1e-6, atol=1e-8)


def test_power_iterations_find_the_curvature_of_the_data():
    prior, operator, z, y = curved_problem()
    noise = torch.full((2,), 0.4, dtype=F64)
    term = GradientTerm(prior, operator, y, noise, autoencoder_std=0.0, prior_weight=1.0)
    term.set_level(SIGMA, z)
    for i in range(2):
        dense = torch.func.jacrev(lambda u: operator.forward(prior.decode(u)))(z[i : i + 1])
        largest = torch.linalg.matrix_norm(dense.reshape(5, 4), 2) ** 2
        found = (term.total[i] - 0.16) / SIGMA**2
        assert largest <= found <= 1.06 * largest


@pytest.mark.parametrize("autoencoder_std", [0.0, 0.2])
def test_gauss_newton_solves_the_dense_normal_equations(autoencoder_std):
    prior, operator, z, y = curved_problem()
    noise_std = torch.tensor([0.4, 0.1], dtype=F64)
    term = GaussNewtonTerm(
        prior, operator, y, noise_std, autoencoder_std=autoencoder_std, prior_weight=0.7
    )
    term.cg_steps = 20
    denoised = prior(z, SIGMA.expand(2))
    term.set_level(SIGMA, denoised)
    v = term(denoised, z).flatten(1)
    h = operator.forward(torch.eye(9, dtype=F64).reshape(9, 1, 3, 3)).T
    for i in range(2):
        here = denoised[i : i + 1]
        g = torch.func.jacrev(lambda u: operator.forward(prior.decode(u)))(here).reshape(5, 4)
        eye = torch.eye(5, dtype=F64)
        precision = torch.linalg.inv(noise_std[i] ** 2 * eye + autoencoder_std**2 * h @ h.T)
        left = g.T @ precision @ g + torch.eye(4, dtype=F64) / SIGMA**2
        error = y[i] - operator.forward(prior.decode(here))[0]
        right = g.T @ precision @ error + 0.7 * (here - z[i : i + 1]).flatten() / SIGMA**2
        torch.testing.assert_close(v[i], torch.linalg.solve(left, right), rtol=1e-5, atol=1e-8)


def test_reencoding_is_the_pseudo_inverse_through_a_linear_pair():
    problem = LatentProblem(0.0)
    z = torch.zeros(1, 2, 2, 2, dtype=F64)
    noise = torch.zeros(1, dtype=F64)
    term = ReencodingTerm(
        problem.prior, problem.operator, problem.y, noise, autoencoder_std=0.0, prior_weight="auto"
    )
    term.set_level(SIGMA, z)
    error = problem.y_on_latents[0]
    truth = torch.linalg.pinv(problem.a) @ torch.linalg.pinv(problem.h) @ error
    torch.testing.assert_close(term(z, z).flatten(), truth, rtol=1e-6, atol=1e-9)
    assert term.calls == 3


def test_reencoding_takes_noise_for_what_it_is():
    """Its correction is the mean of N(x0; D, sigma_t^2 I) given y, not H^+ with all its noise."""
    problem = LatentProblem(0.0)
    z = torch.zeros(2, 2, 2, 2, dtype=F64)
    noise_std = torch.tensor([0.0, 0.4], dtype=F64)
    y = problem.y.repeat(2, 1)
    term = ReencodingTerm(
        problem.prior, problem.operator, y, noise_std, autoencoder_std=0.0, prior_weight=0.0
    )
    for level in (SIGMA, 3 * SIGMA):
        term.set_level(level, z)
        found = term(z, z).flatten(1)
        for i in range(2):
            cov = level**2 * problem.h @ problem.h.T + noise_std[i] ** 2 * torch.eye(5, dtype=F64)
            mean = level**2 * problem.h.T @ torch.linalg.solve(cov, problem.y_on_latents[0])
            truth = torch.linalg.pinv(problem.a) @ mean
            torch.testing.assert_close(found[i], truth, rtol=1e-6, atol=1e-9)


def test_reencoding_does_not_move_what_meets_the_data():
    """The pair changes what passes through it; that is no error of the data."""
    prior, operator, z, _ = curved_problem()
    y = operator.forward(prior.decode(z))
    assert (prior.encode(prior.decode(z)) - z).abs().max() > 0.1
    noise = torch.full((2,), 0.4, dtype=F64)
    term = ReencodingTerm(prior, operator, y, noise, autoencoder_std=0.2, prior_weight=0.5)
    term.set_level(SIGMA, z)
    state = z + 0.1
    expected = 0.5 * 0.04 / (SIGMA**2 + 0.04) * (z - state)
    torch.testing.assert_close(term(z, state), expected, rtol=1e-6, atol=1e-9)


def test_the_measured_calls_are_what_the_terms_take():
    problem = LatentProblem(0.1)
    noise, z = torch.full((1,), 0.1, dtype=F64), torch.ones(1, 2, 2, 2, dtype=F64)
    term = GaussNewtonTerm(
        problem.prior, problem.operator, problem.y, noise, autoencoder_std=0.0, prior_weight=1.0
    )
    term.cg_steps = 2
    term.set_level(SIGMA, z)
    term(z, 0 * z)
    assert term.calls == 1 + 1 + 2 * 2  # decode, transpose, two iterations of two products


def test_the_derivative_of_a_decoder_with_attention_and_norms_is_exact():
    """Dec' u against a difference quotient, and against its transpose, for diffusers' layers."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    model = diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=2,
        norm_num_groups=4,
    ).double()
    shape = (3, 8, 8)
    denoiser = GaussianMixtureDenoiser(
        torch.zeros(1, 32, dtype=F64), torch.eye(32, dtype=F64)[None], image_shape=(2, 4, 4)
    )
    prior = LatentDenoiser(denoiser, Autoencoder(model, shape))
    operator = MatrixOperator(torch.eye(192, dtype=F64), shape)
    term = GaussNewtonTerm(
        prior, operator, torch.zeros(2, 192, dtype=F64), torch.zeros(2, dtype=F64),
        autoencoder_std=0.0, prior_weight=1.0,
    )  # fmt: skip
    z, u = torch.randn(2, 2, 2, 4, 4, dtype=F64).unbind(0)
    image = term.linearize(z)
    torch.testing.assert_close(image, prior.decode(z))
    found = term.applied(u)
    quotient = (prior.decode(z + 1e-5 * u) - prior.decode(z - 1e-5 * u)) / 2e-5
    torch.testing.assert_close(found, quotient, rtol=1e-5, atol=1e-7)
    cotangent = torch.randn_like(found)
    product = (found * cotangent).flatten(1).sum(1)
    torch.testing.assert_close(product, (u * term.transposed(cotangent)).flatten(1).sum(1))
