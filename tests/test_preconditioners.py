"""alpha and beta of each form against the matrices that define them (arXiv 2512.10524)."""

from __future__ import annotations

import pytest
import torch

from vml_fast.errors import InputError
from vml_fast.preconditioners import check_preconditioner, check_prior_weight, coefficients

S = torch.tensor([[3.0, 1.0, 0.2, 1e-6, 0.0]], dtype=torch.float64)
KEPT = torch.tensor([True, True, True, False, False])
SIGMA_T = torch.tensor(0.3, dtype=torch.float64)


def _coefficients(noise_std, preconditioner, prior_weight="auto", sigma_t=SIGMA_T):
    return coefficients(
        S,
        S > 3e-4,
        norm=torch.tensor([3.0]),
        sigma_t=sigma_t,
        noise_std=torch.tensor(noise_std, dtype=torch.float64),
        preconditioner=preconditioner,
        prior_weight=prior_weight,
    )


def test_plain_is_the_gradient_times_the_stable_step() -> None:
    sigma_y = 0.05
    alpha, beta = _coefficients([sigma_y], None)
    step = sigma_y**2 * SIGMA_T**2 / (9.0 * SIGMA_T**2 + sigma_y**2)
    torch.testing.assert_close(alpha, step * S / sigma_y**2)
    torch.testing.assert_close(beta, (step / SIGMA_T**2).expand(1, 5))


def test_noise_aware_with_weight_one_is_the_gauss_newton_step_on_the_range() -> None:
    sigma_y = 0.05
    alpha, beta = _coefficients([sigma_y], "noise_aware", prior_weight=1.0)
    hessian = S**2 / sigma_y**2 + 1 / SIGMA_T**2
    torch.testing.assert_close(alpha[0, KEPT], (S / sigma_y**2 / hessian)[0, KEPT])
    torch.testing.assert_close(beta[0, KEPT], (1 / SIGMA_T**2 / hessian)[0, KEPT])


@pytest.mark.parametrize("weight", [0.0, 0.3, "auto"])
def test_noise_aware_step_falls_to_the_null_space_weight(weight: float | str) -> None:
    """The step of s falls from the Gauss-Newton step to the weight; its fixed point stays."""
    sigma_y = 0.05
    whole = _coefficients([sigma_y], "noise_aware", prior_weight=1.0)
    relaxed = _coefficients([sigma_y], "noise_aware", prior_weight=weight)
    share = (relaxed.beta / whole.beta)[0, KEPT]
    torch.testing.assert_close((relaxed.alpha / whole.alpha)[0, KEPT], share)
    assert share[0] > share[1] > share[2] > relaxed.beta[0, -1]
    assert share[0] == pytest.approx(1.0, abs=5e-3)
    s = torch.tensor([[3.0, 4e-4, 0.0]], dtype=torch.float64)
    settings = {
        "norm": torch.tensor([3.0]),
        "sigma_t": SIGMA_T,
        "noise_std": torch.tensor([sigma_y], dtype=torch.float64),
        "preconditioner": "noise_aware",
        "prior_weight": weight,
    }
    weak, nothing = coefficients(s, s > 3e-4, **settings).beta[0, 1:].tolist()
    assert weak == pytest.approx(nothing, abs=1e-5)


def test_pseudo_inverse_scales_the_data_part_alone() -> None:
    sigma_y = 0.05
    alpha, beta = _coefficients([sigma_y], "pseudo_inverse")
    total = SIGMA_T**2 + sigma_y**2
    torch.testing.assert_close(alpha[0, KEPT], SIGMA_T**2 / total / S[0, KEPT])
    torch.testing.assert_close(beta[0, KEPT], (sigma_y**2 / total).expand(3))


@pytest.mark.parametrize("form", ["pseudo_inverse", "noise_aware"])
def test_without_noise_both_forms_are_the_pseudo_inverse(form: str) -> None:
    alpha, beta = _coefficients([0.0], form, prior_weight=0.25)
    torch.testing.assert_close(alpha[0, KEPT], 1 / S[0, KEPT])
    assert beta[0].tolist() == [0.0, 0.0, 0.0, 0.25, 0.25]
    assert alpha[0, ~KEPT].tolist() == [0.0, 0.0]


def test_auto_weight_is_zero_without_noise_and_continuous() -> None:
    weights = [_coefficients([s], "noise_aware").beta[0, -1].item() for s in (0.0, 1e-9, 0.05)]
    assert weights[0] == 0.0
    assert weights[1] == pytest.approx(0.0, abs=1e-12)
    assert weights[2] == pytest.approx(0.05**2 / (0.05**2 + 0.3**2))


def test_auto_chooses_per_sample() -> None:
    both = _coefficients([0.0, 1e-4, 0.05], "auto")
    for row, (sigma, form) in enumerate(
        [(0.0, "pseudo_inverse"), (1e-4, "pseudo_inverse"), (0.05, "noise_aware")]
    ):
        one = _coefficients([sigma], form)
        assert torch.equal(both.alpha[row], one.alpha[0])
        assert torch.equal(both.beta[row], one.beta[0])


@pytest.mark.parametrize("form", [None, "auto", "pseudo_inverse", "noise_aware"])
@pytest.mark.parametrize("sigma_y", [0.0, 1e-9, 0.01, 0.1, 10.0])
@pytest.mark.parametrize("sigma_t", [0.002, 80.0])
def test_contraction(form: str | None, sigma_y: float, sigma_t: float) -> None:
    """With J = I a step multiplies the error by 1 - (alpha s + beta): it must stay in [0, 1]."""
    alpha, beta = _coefficients([sigma_y], form, sigma_t=torch.tensor(sigma_t).double())
    factor = 1.0 - alpha * S - beta
    assert bool(torch.isfinite(factor).all())
    assert factor.min() >= -1e-12
    assert factor.max() <= 1.0 + 1e-12


@pytest.mark.parametrize("name", ["", "pseudo-inverse", "none", "AUTO"])
def test_unknown_preconditioner(name: str) -> None:
    with pytest.raises(InputError, match="preconditioner"):
        check_preconditioner(name)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan"), "all"])
def test_bad_prior_weight(weight: object) -> None:
    with pytest.raises(InputError, match="prior_weight"):
        check_prior_weight(weight)  # type: ignore[arg-type]
