"""DPS against its published form, and closed-form distributions where it has any."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.solvers.gaussian import Law, Linear, draws, sampled
from tests.solvers.problems import SHAPE, problem
from vml_fast import DPS
from vml_fast.errors import InputError
from vml_fast.operators import Inpainting


def test_equals_algorithm_1_in_its_variance_preserving_form() -> None:
    """With the betas, the posterior mean and the variance of DDPM (Ho et al. 2020, Eqs. 6, 7)."""
    setting = problem(noise_std=0.05)
    solver = DPS(setting.denoiser, setting.operator, steps=50, zeta=0.3)
    abar = torch.cat([torch.ones(1), 1 / (1 + solver.schedule.flip(0) ** 2)])
    noise = draws(4)

    x = ((1 - abar[-1]).sqrt() * noise.draw(0)).requires_grad_()
    for i in range(50, 0, -1):
        now, following = abar[i], abar[i - 1]
        beta = 1 - now / following
        sigma = ((1 - now) / now).sqrt().expand(4)
        estimate = setting.denoiser(x / now.sqrt(), sigma)
        error = (setting.y - setting.operator(estimate)).norm(dim=1)
        (gradient,) = torch.autograd.grad(error.sum(), x)
        mean = following.sqrt() * beta / (1 - now) * estimate
        mean = mean + (1 - beta).sqrt() * (1 - following) / (1 - now) * x
        variance = (1 - following) / (1 - now) * beta
        x = mean + variance.sqrt() * noise.draw(51 - i) - 0.3 * gradient
        x = x.detach().requires_grad_()
    torch.testing.assert_close(solver.solve(setting.y).image, x.detach(), rtol=0, atol=1e-7)


def test_without_guidance_the_samples_are_of_the_prior() -> None:
    """Ancestral sampling is exact as the steps shrink: 7 % of the largest variance at 100."""
    setting = Linear(0.05, identity=True)
    prior = Law(setting.m, setting.c)
    solver = DPS(setting.denoiser, setting.operator, steps=100, zeta=0.0)
    mean, covariance = sampled(solver.solve(setting.measured(1000)).image).gap(prior)
    assert mean < 0.12
    assert covariance < 0.25


def test_the_misfit_falls_with_zeta() -> None:
    setting = problem()
    misfits = [
        float(
            DPS(setting.denoiser, setting.operator, steps=100, zeta=zeta)
            .solve(setting.y.repeat(25, 1))
            .residual.mean()
        )
        for zeta in (0.0, 0.05, 0.15)
    ]
    assert misfits[0] > 1.5 * misfits[1] > 3 * misfits[2]


def test_a_measurement_that_is_met_exactly_moves_nothing() -> None:
    setting = problem()
    operator = Inpainting(SHAPE, torch.tensor([[[1.0, 0, 1, 0], [0, 1, 0, 1]]]))
    target = torch.full((2, *SHAPE), 0.25)

    def constant(x: Tensor, sigma: Tensor) -> Tensor:
        return 0.0 * x + target

    result = DPS(constant, operator, steps=5).solve(operator(target))
    assert torch.equal(result.image, target)
    y = operator(setting.truth)
    solver = DPS(setting.denoiser, operator, steps=20)
    hidden = y + (1 - operator.data["mask"]) * 5.0  # what y holds there is no misfit
    assert torch.equal(solver.solve(y).image, solver.solve(hidden).image)


@pytest.mark.parametrize("zeta", [-1.0, float("nan"), float("inf")])
def test_bad_settings(zeta: float) -> None:
    setting = problem()
    with pytest.raises(InputError, match="zeta"):
        DPS(setting.denoiser, setting.operator, zeta=zeta)
