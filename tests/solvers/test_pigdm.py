"""PiGDM against closed-form posteriors, its published form, and the law of its own updates."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.solvers.gaussian import EYE, Law, Linear, assert_law, draws
from tests.solvers.problems import SHAPE, matrix, problem
from vml_fast import PiGDM
from vml_fast.errors import InputError
from vml_fast.operators import Inpainting, LinearMap


def law(setting: Linear, solver: PiGDM) -> Law:
    """Mean and covariance of the samples, from the update written with dense matrices."""
    levels = [*solver.schedule.tolist(), 0.0]
    state = setting.start(levels[0])
    for t, s in pairwise(levels):
        w, constant = setting.slope(t), (EYE - setting.slope(t)) @ setting.m
        r2 = t**2 / (1 + t**2)
        fresh = solver.eta * s * (1 - (s / t) ** 2) ** 0.5
        kept = (s**2 - fresh**2) ** 0.5 / t
        weight = 1.0 if solver.guidance == "adaptive" else (1 - kept) * t**2 / r2
        pull = weight * w @ setting.inverse(setting.noise_std**2 / r2)
        slope = w + kept * (EYE - w) - pull @ setting.h @ w
        offset = (1 - kept) * constant + pull @ (setting.y - setting.h @ constant)
        state = state.affine(slope, offset, fresh**2 * EYE)
    return state


@pytest.mark.parametrize("guidance", ["adaptive", "score"])
@pytest.mark.parametrize("eta", [1.0, 0.5])
@pytest.mark.parametrize("noise_std", [0.0, 0.1])
def test_samples_are_of_the_law_of_the_updates(noise_std: float, eta: float, guidance: str) -> None:
    setting = Linear(noise_std)
    solver = PiGDM(
        setting.denoiser,
        setting.operator,
        noise_std=noise_std,
        steps=20,
        eta=eta,
        guidance=guidance,
    )
    assert_law(solver.solve(setting.measured(600)).image, law(setting, solver))


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
def test_score_guidance_is_exact_for_a_prior_of_unit_covariance(noise_std: float) -> None:
    """Where p(x0 | x_t) is N(D, r_t^2 I), only the step's length stands between it and p(x0 | y).

    The law's mean is exact at any number of steps, its covariance off by 28 % of the largest
    variance at 20 steps, 7 % at 100 and .8 % at 1000.
    """
    setting = Linear(noise_std, identity=True)
    errors = {}
    for steps in (20, 100, 1000):
        solver = PiGDM(
            setting.denoiser,
            setting.operator,
            noise_std=noise_std,
            steps=steps,
            guidance="score",
        )
        errors[steps] = law(setting, solver).gap(setting.posterior())
        if steps == 100:
            images = solver.solve(setting.measured(1000)).image
            assert_law(images, law(setting, solver))
    assert all(mean < 1e-3 for mean, _ in errors.values())
    assert errors[20][1] < 0.3
    assert errors[100][1] < 0.08
    assert errors[1000][1] < 0.01


@pytest.mark.parametrize("noise_std", [0.0, 0.05])
def test_equals_algorithm_1_in_its_variance_preserving_form(noise_std: float) -> None:
    setting = problem(noise_std=noise_std)
    solver = PiGDM(setting.denoiser, setting.operator, noise_std=noise_std, steps=25, eta=0.7)
    abar = 1 / (1 + solver.schedule**2)
    noise, h = draws(4), setting.operator

    x = ((1 - abar[0]).sqrt() * noise.draw(0)).requires_grad_()
    for i, now in enumerate(abar):
        following = abar[i + 1] if i + 1 < len(abar) else torch.tensor(1.0)
        sigma2 = (1 - now) / now
        estimate = setting.denoiser(x / now.sqrt(), sigma2.sqrt().expand(4))
        r2 = sigma2 / (1 + sigma2)
        dense = matrix()
        solve = torch.linalg.inv(dense @ dense.T + noise_std**2 / r2 * torch.eye(4))
        pull = ((setting.y - h(estimate)) @ solve @ dense).reshape(x.shape).detach()
        (g,) = torch.autograd.grad((pull * estimate).sum(), x)
        c1 = 0.7 * ((1 - now / following) * (1 - following) / (1 - now)).clamp_min(0).sqrt()
        c2 = (1 - following - c1**2).clamp_min(0).sqrt()
        eps = (x - now.sqrt() * estimate) / (1 - now).sqrt()
        x = following.sqrt() * (estimate + now.sqrt() * g) + c1 * noise.draw(i + 1) + c2 * eps
        x = x.detach().requires_grad_()
    torch.testing.assert_close(solver.solve(setting.y).image, x.detach(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("noise_std", [0.0, 0.05])
def test_conjugate_gradients_equal_the_svd(noise_std: float) -> None:
    setting, dense = problem(noise_std=noise_std), matrix()

    def forward(x: Tensor) -> Tensor:
        return x.flatten(1) @ dense.to(x).T

    images = [
        PiGDM(setting.denoiser, operator, noise_std=noise_std, steps=20).solve(setting.y).image
        for operator in (setting.operator, LinearMap(forward, SHAPE))
    ]
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=1e-6)


def test_noiseless_inpainting_fits_what_is_seen() -> None:
    setting = problem()
    mask = torch.tensor([[[1.0, 0, 1, 0], [0, 1, 0, 1]]])
    y = mask * setting.truth + (1 - mask) * 7.0  # what y holds where nothing is seen has no effect
    operator = Inpainting(SHAPE, mask)
    result = PiGDM(setting.denoiser, operator).solve(y)
    assert result.residual.max() < 2e-3
    assert torch.equal(result.image, PiGDM(setting.denoiser, operator).solve(y * mask).image)


@pytest.mark.parametrize(
    ("keywords", "named"),
    [({"eta": 1.5}, "eta"), ({"eta": "all"}, "eta"), ({"guidance": "dps"}, "guidance")],
)
def test_bad_settings(keywords: dict, named: str) -> None:
    setting = problem()
    with pytest.raises(InputError, match=named):
        PiGDM(setting.denoiser, setting.operator, **keywords)
