"""Noise levels against EDM's published formula, and their errors."""

from __future__ import annotations

import pytest
import torch

from vml_fast.errors import InputError
from vml_fast.schedules import check_schedule, ddpm_schedule, edm_schedule


def test_ends_and_order() -> None:
    levels = edm_schedule(20)
    assert levels.shape == (20,)
    assert levels.dtype == torch.float64
    assert levels[0].item() == pytest.approx(80.0)
    assert levels[-1].item() == pytest.approx(0.002)
    assert bool((levels[1:] < levels[:-1]).all())


def test_middle_level_by_hand() -> None:
    middle = ((80.0 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    assert edm_schedule(3)[1].item() == pytest.approx(middle)


def test_one_level_is_sigma_max() -> None:
    assert edm_schedule(1).tolist() == [80.0]


@pytest.mark.parametrize(
    "keywords",
    [
        {"steps": 0},
        {"steps": 2.0},
        {"steps": True},
        {"steps": 3, "sigma_min": 0.0},
        {"steps": 3, "sigma_min": 2.0, "sigma_max": 1.0},
        {"steps": 3, "sigma_max": float("inf")},
        {"steps": 3, "rho": 0.0},
        {"steps": 3, "rho": float("nan")},
        {"steps": 3, "rho": float("inf")},
    ],
)
def test_bad_arguments(keywords: dict) -> None:
    with pytest.raises(InputError, match="must be"):
        edm_schedule(**keywords)


@pytest.mark.parametrize(
    "levels", [[], [[1.0]], [1.0, 2.0], [1.0, 1.0], [1.0, 0.0], [float("nan")], [float("inf"), 1.0]]
)
def test_bad_schedules(levels: list) -> None:
    with pytest.raises(InputError, match="schedule"):
        check_schedule(torch.tensor(levels))


def _ddpm_levels() -> torch.Tensor:
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    return ((1 - abar) / abar).sqrt()


@pytest.mark.parametrize("steps", [2, 20, 100, 1000])
def test_ddpm_levels_are_those_of_its_respaced_time_steps(steps: int) -> None:
    """0, 1000/N, 2000/N, ... as DDRM, DPS and others take them."""
    expected = _ddpm_levels()[:: 1000 // steps].flip(0)
    torch.testing.assert_close(ddpm_schedule(steps), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [1, 20, 1000, 3000])
def test_ddpm_levels_within_a_narrower_range(steps: int) -> None:
    levels = ddpm_schedule(steps, sigma_min=0.02, sigma_max=80.0)
    assert levels.shape == (steps,)
    assert bool((levels[1:] < levels[:-1]).all())
    assert levels[-1] >= 0.02 - 1e-9
    assert levels[0] <= 80.0 + 1e-9
    if steps > 1:
        assert levels[-1].item() == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("steps", "low", "high"), [(0, 0.0, 80.0), (2.0, 0.0, 80.0), (20, 3.0, 2.0), (20, 200.0, 300.0)]
)
def test_bad_ddpm_arguments(steps: int, low: float, high: float) -> None:
    with pytest.raises(InputError, match=r"steps|sigma_min"):
        ddpm_schedule(steps, sigma_min=low, sigma_max=high)
