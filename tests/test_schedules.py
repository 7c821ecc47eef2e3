"""Noise levels against EDM's published formula, and their errors."""

from __future__ import annotations

import pytest
import torch

from vml_fast.errors import InputError
from vml_fast.schedules import check_schedule, edm_schedule


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
