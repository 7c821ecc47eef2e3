"""DAPS against the law of its own updates, and closed-form posteriors."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.solvers.gaussian import EYE, F64, Law, Linear, assert_law
from tests.solvers.problems import N, problem
from vml_fast import DAPS
from vml_fast.errors import InputError
from vml_fast.schedules import edm_schedule


def law(setting: Linear, solver: DAPS) -> Law:
    """Mean and covariance of the samples, from Algorithm 1 written with dense matrices."""
    levels = solver.schedule.tolist()
    state = setting.start(levels[0])
    beta = solver.likelihood_std or setting.noise_std
    zero = torch.zeros(N, dtype=F64)
    for i, t in enumerate(levels):
        slope, offset = EYE, zero  # of x0_hat as a function of x
        grid = edm_schedule(solver.ode_steps, sigma_min=min(0.01, t), sigma_max=t).tolist()
        for a, b in pairwise([*grid, 0.0]):
            w = setting.slope(a)
            step = w + b / a * (EYE - w)
            slope, offset = step @ slope, step @ offset + (1 - b / a) * (EYE - w) @ setting.m
        h = solver.step_size * (1 + i / len(levels) * (solver.step_decay - 1))
        norm = torch.linalg.matrix_norm(setting.h, 2)
        h = min(h, 1 / float(1 / t**2 + (norm / beta) ** 2))
        stay = EYE - h / t**2 * EYE - h / beta**2 * setting.h.T @ setting.h
        carried, constant, noise = EYE, zero, 0.0 * EYE  # of x0 as a function of x0_hat
        for _ in range(solver.langevin_steps):
            carried = stay @ carried + h / t**2 * EYE
            constant = stay @ constant + h / beta**2 * setting.h.T @ setting.y
            noise = stay @ noise @ stay.T + 2 * h * EYE
        state = state.affine(carried @ slope, carried @ offset + constant, noise)
        if i + 1 < len(levels):
            state = state.affine(EYE, zero, levels[i + 1] ** 2 * EYE)
    return state


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"ode_steps": 1, "likelihood_std": None, "step_size": 1e-3, "step_decay": 0.5},
        {"ode_steps": 3, "likelihood_std": None, "step_size": 1.0},
    ],
)
def test_samples_are_of_the_law_of_the_updates(keywords: dict) -> None:
    setting = Linear(0.1)
    solver = DAPS(
        setting.denoiser,
        setting.operator,
        noise_std=0.1,
        **({"steps": 8, "langevin_steps": 12} | keywords),
    )
    images = solver.solve(setting.measured(600).float()).image
    assert_law(images, law(setting, solver))


def test_default_schedule_and_passes() -> None:
    setting = problem()
    solver = DAPS(setting.denoiser, setting.operator, langevin_steps=0)
    assert len(solver.schedule) == 200
    assert solver.schedule[0].item() == pytest.approx(80.0)  # 100, but the prior ends at 80
    assert solver.schedule[-1].item() == pytest.approx(0.1)
    result = solver.solve(setting.y[:1].float())
    assert (result.denoiser_calls, result.vjp_calls) == (1000, 0)


def test_the_authors_numbers() -> None:
    """Of their `lr`, `lr_min_ratio`, `tau` and annealing: 100 to .1 in 200 levels."""

    class Unbounded:
        sigma_min, sigma_max = 0.0, float("inf")

        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            return x

    solver = DAPS(Unbounded(), problem().operator)
    assert (solver.schedule[0].item(), solver.schedule[-1].item()) == pytest.approx((100.0, 0.1))
    steps = [solver.langevin_step(level) for level in (0, 100, 199)]
    assert steps == pytest.approx([1e-4, 5.05e-5, 1.495e-6])
    assert (solver.likelihood_std, solver.langevin_steps, solver.ode_steps) == (0.01, 100, 5)


@pytest.mark.parametrize("likelihood_std", [0.01, None])
@pytest.mark.parametrize("norm", [1.0, 30.0])
def test_langevin_steps_are_stable_for_every_norm(
    norm: float, likelihood_std: float | None
) -> None:
    setting = problem(norm=norm, dtype=torch.float32)
    solver = DAPS(
        setting.denoiser,
        setting.operator,
        steps=10,
        langevin_steps=50,
        likelihood_std=likelihood_std,
        step_size=1.0,
    )
    result = solver.solve(setting.y)
    assert result.image.abs().max() < 3.0
    assert result.residual.max() < 0.05


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"ode_steps": 0}, "ode_steps"),
        ({"langevin_steps": -1}, "langevin_steps"),
        ({"step_size": 0.0}, "step_size"),
        ({"step_decay": 2.0}, "step_decay"),
        ({"likelihood_std": 0.0}, "likelihood_std"),
    ],
)
def test_bad_settings(keywords: dict, named: str) -> None:
    setting = problem()
    with pytest.raises(InputError, match=named):
        DAPS(setting.denoiser, setting.operator, **keywords)
