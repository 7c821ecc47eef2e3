"""MAP-GA against its published algorithms written out, and the modes of known posteriors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.solvers.gaussian import EYE, F64, Linear, draws, sampled
from tests.solvers.problems import SHAPE, matrix, problem
from vml_fast import MAPGA, restore
from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.errors import InputError
from vml_fast.operators import Inpainting, LinearMap
from vml_fast.schedules import edm_schedule

EPS = 0.002


def flow_end(m: Tensor, c: Tensor, eps: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The exact consistency function of N(m, C): the ODE scales each principal direction."""
    variance, axes = torch.linalg.eigh(c)

    def consistency(x: Tensor, sigma: Tensor) -> Tensor:
        scale = ((variance + eps**2) / (variance + sigma[:, None] ** 2)).sqrt()
        coordinates = (x.flatten(1) - m) @ axes
        return (m + (scale * coordinates) @ axes.T).reshape(x.shape)

    return consistency


def written_out(
    denoiser: GaussianMixtureDenoiser,
    consistency: Callable[[Tensor, Tensor], Tensor],
    y: Tensor,
    noise_std: float,
    use_prior: bool,
    steps: int,
    inner_steps: int,
) -> Tensor:
    """Algorithms 2 (noiseless) and 3 as published, with dense inverses; PiGDM's r_t = sigma_t."""
    h, eye, noise, batch = matrix(), torch.eye(4, dtype=F64), draws(len(y)), len(y)
    levels = edm_schedule(steps + 1, sigma_min=noise_std or EPS)
    z, learning_rate = levels[0] * noise.draw(0), noise_std**2 + EPS**2
    for i, (sigma, following) in enumerate(pairwise(levels)):
        for _ in range(inner_steps):
            z = z.detach().requires_grad_()
            x = consistency(z, sigma.expand(batch))
            error = y - x.detach().flatten(1) @ h.T
            solve = torch.linalg.inv(noise_std**2 / EPS**2 * eye + h @ h.T)
            gradient = (error @ solve @ h).reshape(x.shape) / EPS**2
            if use_prior and not noise_std:
                eps = torch.full((batch,), EPS, dtype=F64)
                gradient = gradient + (denoiser(x, eps) - x).detach() / EPS**2
            (step,) = torch.autograd.grad(x, z, gradient)
            z = z + learning_rate * step
        x = consistency(z, sigma.expand(batch)).detach()
        z = x + (following**2 - levels[-1] ** 2).sqrt() * noise.draw(i + 1)
    if not noise_std:
        return z
    tail = edm_schedule(21, sigma_min=EPS, sigma_max=noise_std)
    for j, (sigma, following) in enumerate(pairwise(tail)):
        z = z.detach().requires_grad_()
        x = denoiser(z, sigma.expand(batch))
        error = y - x.detach().flatten(1) @ h.T
        solve = torch.linalg.inv(sigma**2 * h @ h.T + noise_std**2 * eye)
        (score,) = torch.autograd.grad(x, z, (error @ solve @ h).reshape(x.shape))
        mean = x.detach() + sigma**2 * score
        z = mean + (following**2 - EPS**2).clamp_min(0).sqrt() * noise.draw(steps + 1 + j)
    return z.detach()


@pytest.mark.parametrize("use_prior", [True, False])
@pytest.mark.parametrize("by_denoiser", [True, False])
@pytest.mark.parametrize("noise_std", [0.0, 0.05])
def test_equals_the_published_algorithms(
    noise_std: float, by_denoiser: bool, use_prior: bool
) -> None:
    setting = problem(noise_std=noise_std)
    gaussian = Linear(noise_std)
    model = setting.denoiser if by_denoiser else flow_end(gaussian.m, gaussian.c, EPS)
    expected = written_out(setting.denoiser, model, setting.y, noise_std, use_prior, 6, 4)
    solver = MAPGA(
        setting.denoiser,
        setting.operator,
        consistency=None if by_denoiser else model,
        use_prior=use_prior,
        noise_std=noise_std,
        steps=6,
        inner_steps=4,
    )
    torch.testing.assert_close(solver.solve(setting.y).image, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
def test_algorithm_2_ends_at_the_mode_where_the_consistency_function_is_exact(
    noise_std: float,
) -> None:
    """Of p(x_eps | y), whose prior is N(m, C + eps^2) and noise sigma_y^2 + eps^2 H H^T.

    At eps = .1, where 1,000 iterations converge: at .002 the prior of this problem, of variances
    around .03, moves by 1e-4 of the way per iteration, in the paper as here.
    """
    eps, setting = 0.1, Linear(noise_std)
    noise = noise_std**2 * torch.eye(4, dtype=F64) + eps**2 * setting.h @ setting.h.T
    likelihood = setting.h.T @ torch.linalg.inv(noise)
    prior = torch.linalg.inv(setting.c + eps**2 * EYE)
    mode = torch.linalg.solve(
        likelihood @ setting.h + prior, likelihood @ setting.y + prior @ setting.m
    )
    result = MAPGA(
        setting.denoiser,
        setting.operator,
        consistency=flow_end(setting.m, setting.c, eps),
        noise_std=noise_std,
        pigdm_steps=0,
        sigma_eps=eps,
    ).solve(setting.measured(4))
    torch.testing.assert_close(result.image.flatten(1), mode.expand(4, -1), rtol=0, atol=3e-3)


def test_algorithm_3_comes_near_the_posterior_mean() -> None:
    """Within .3 standard deviations, each of samples whose spread is below the posterior's."""
    setting = Linear(0.05)
    posterior = setting.posterior()
    result = MAPGA(setting.denoiser, setting.operator, noise_std=0.05, inner_steps=20).solve(
        setting.measured(100)
    )
    deviation = posterior.covariance.diagonal().sqrt()
    found = sampled(result.image)
    assert ((found.mean - posterior.mean) / deviation).abs().max() < 0.4
    assert (found.covariance.diagonal().sqrt() / deviation).max() < 1.0


def test_a_batch_of_noisy_and_noiseless_samples() -> None:
    """Each has its own levels, and those without noise take no part in Algorithm 3's tail."""
    setting = problem(noise_std=0.05)
    sigma_y = torch.tensor([0.0, 0.05, 1e-9, 0.3])

    def run(rows: list[int]) -> Tensor:
        solver = MAPGA(
            setting.denoiser,
            setting.operator,
            noise_std=sigma_y[rows],
            steps=5,
            inner_steps=3,
            pigdm_steps=4,
        )
        return solver.solve(setting.y[rows], sample_index=rows).image

    together = run([0, 1, 2, 3])
    torch.testing.assert_close(together, torch.cat([run([i]) for i in range(4)]), rtol=0, atol=1e-9)
    twins = MAPGA(setting.denoiser, setting.operator, noise_std=1e-9, steps=5, inner_steps=3)
    none = MAPGA(setting.denoiser, setting.operator, steps=5, inner_steps=3)
    torch.testing.assert_close(
        twins.solve(setting.y).image, none.solve(setting.y).image, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("use_prior", [True, False])
def test_units_of_the_measurement_do_not_matter_to_algorithm_2(use_prior: bool) -> None:
    settings = {"steps": 5, "inner_steps": 3, "use_prior": use_prior, "pigdm_steps": 0}
    y, images = problem(noise_std=0.05).y, []
    for norm in (1.0, 0.1):
        setting = problem(norm=norm)
        solver = MAPGA(setting.denoiser, setting.operator, noise_std=0.05 * norm, **settings)
        images.append(solver.solve(norm * y).image)
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("use_prior", [True, False])
@pytest.mark.parametrize("pigdm_steps", [0, 5])
@pytest.mark.parametrize("norm", [1.0, 30.0])
def test_stable_for_every_norm_and_noise(norm: float, pigdm_steps: int, use_prior: bool) -> None:
    for noise_std in (0.0, 0.01, 0.1):
        setting = problem(noise_std=noise_std, norm=norm, dtype=torch.float32)
        result = MAPGA(
            setting.denoiser,
            setting.operator,
            noise_std=noise_std,
            use_prior=use_prior,
            pigdm_steps=pigdm_steps,
            steps=8,
            inner_steps=8,
        ).solve(setting.y)
        assert result.image.abs().max() < 3.0


def test_conjugate_gradients_equal_the_svd(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = matrix()

    def forward(x: Tensor) -> Tensor:
        return x.flatten(1) @ dense.to(x).T

    for noise_std in (0.0, 0.05):
        setting = problem(noise_std=noise_std)
        matrix_free = LinearMap(forward, SHAPE)
        monkeypatch.setattr(matrix_free, "norm", setting.operator.norm)  # in place of its estimate
        images = [
            MAPGA(setting.denoiser, operator, noise_std=noise_std, steps=5, inner_steps=3)
            .solve(setting.y)
            .image
            for operator in (setting.operator, matrix_free)
        ]
        torch.testing.assert_close(images[0], images[1], rtol=0, atol=1e-6)


def test_a_schedule_of_ones_own_and_the_trace() -> None:
    setting = problem(noise_std=0.1)
    solver = MAPGA(
        setting.denoiser,
        setting.operator,
        noise_std=0.1,
        schedule=[10.0, 1.0, 0.05],
        inner_steps=2,
        pigdm_steps=2,
    )
    result = solver.solve(setting.y, keep_images=True)
    assert [state.level for state in result.trace] == [0, 1, 2, 3, 4]
    levels = [state.sigma for state in result.trace]
    assert levels[:3] == [10.0, 1.0, 0.1]  # .05 lies below sigma_y, where the ascent ends
    assert levels[3] == pytest.approx(0.1)
    assert (result.denoiser_calls, result.vjp_calls) == (3 * (2 + 1) + 2, 3 * 2 + 2)


def test_names_need_or_refuse_a_consistency_model() -> None:
    setting = problem()
    arguments = (setting.y, setting.operator, setting.denoiser)
    with pytest.raises(InputError, match=r"consistency is a int; .* function C"):
        MAPGA(setting.denoiser, setting.operator, consistency=5)
    with pytest.raises(InputError, match="needs consistency"):
        restore(*arguments, method="map-ga")
    with pytest.raises(InputError, match="takes no consistency"):
        restore(*arguments, method="map-ga-d", consistency=setting.denoiser)


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"inner_steps": -1}, "inner_steps"),
        ({"pigdm_steps": 1.5}, "pigdm_steps"),
        ({"sigma_eps": 0.0}, "sigma_eps"),
        ({"step_size": -1.0}, "step_size"),
    ],
)
def test_bad_settings(keywords: dict, named: str) -> None:
    setting = problem()
    with pytest.raises(InputError, match=named):
        MAPGA(setting.denoiser, setting.operator, **keywords)


def test_image_shapes_must_agree() -> None:
    setting = problem()
    other = GaussianMixtureDenoiser(torch.zeros(1, 3, 2, 2), 1.0)
    with pytest.raises(InputError, match="image_shape"):
        MAPGA(setting.denoiser, setting.operator, consistency=other)
    with pytest.raises(InputError, match="image_shape"):
        MAPGA(setting.denoiser, Inpainting((3, 4, 4), torch.ones(1, 4, 4)))
