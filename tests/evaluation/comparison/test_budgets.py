"""Every method keeps to its budget of network passes, and uses it."""

import pytest
import torch

from tests.solvers.problems import problem
from vml_fast.errors import InputError
from vml_fast.evaluation.comparison import budgets
from vml_fast.solvers import BASELINES, METHODS, restore

CASES = [
    (method, noise_std, budget)
    for noise_std, table in ((0.0, budgets.NOISELESS), (0.05, budgets.NOISY))
    for method in table
    for budget in budgets.BUDGETS
]


def shrink(x, sigma):
    """A denoiser that costs nothing: only its calls count here."""
    return x / (1.0 + sigma.reshape(-1, 1, 1, 1) ** 2)


@pytest.mark.parametrize(("method", "noise_std", "budget"), CASES)
def test_a_method_uses_its_budget(method, noise_std, budget):
    setting = problem(noise_std, batch=1)
    settings = budgets.settings(method, budget, noise_std)
    if method == "daps":
        settings["langevin_steps"] = 1  # no network in these
    if method in budgets.CONSISTENCY_METHODS:
        settings["consistency"] = shrink
    with torch.no_grad():
        result = restore(
            setting.y, setting.operator, shrink,
            method=method, noise_std=noise_std, **settings,
        )  # fmt: skip
    assert 0.94 * budget <= result.network_passes <= budget


def test_all_methods_have_budgets():
    assert set(budgets.NOISELESS) | set(budgets.NOISY) == {*METHODS, *BASELINES}
    assert "map-ga" not in budgets.methods(0.0, consistency=False)
    assert "map-ga" in budgets.methods(0.0, consistency=True)


def test_settings_are_copies():
    budgets.settings("ddrm", 20, 0.0)["steps"] = 7
    assert budgets.settings("ddrm", 20, 0.0) == {"steps": 20}


@pytest.mark.parametrize(
    ("method", "budget", "noise_std", "named"),
    [("vml-map-tau", 20, 0.0, "vml-map-tau"), ("ddrm", 50, 0.0, "50"), ("nope", 20, 0.1, "nope")],
)
def test_unknown_settings_are_one_sentence(method, budget, noise_std, named):
    with pytest.raises(InputError, match=named):
        budgets.settings(method, budget, noise_std)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"steps": 20, "inner_steps": 2}, "20×2"),
        ({"steps": 50, "ode_steps": 2}, "50, ODE 2"),
        ({"steps": 10, "zeta": 10.0}, "10, ζ 10"),
    ],
)
def test_settings_in_words(settings, text):
    assert budgets.describe(settings) == text
