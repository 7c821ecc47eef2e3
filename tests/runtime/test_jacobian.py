"""Finite differences in the precision of the network: the error beside that of a short step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.runtime.networks import SHAPE, small_denoiser
from vml_fast.runtime import jacobian

ELEMENTS = 64


def linearized(dtype: torch.dtype, length: float) -> tuple[Tensor, Tensor]:
    """J c by a finite difference of a network in `dtype`, and exactly."""
    exact, rounded = small_denoiser(dtype=torch.float64), small_denoiser(dtype=dtype)
    generator = torch.Generator().manual_seed(3)
    u, c = torch.randn(2, 2, *SHAPE, generator=generator, dtype=torch.float64)
    noise = torch.zeros(2, dtype=torch.float64)
    truth = jacobian.jvp(lambda z: exact.raw(z, noise), u)[1](c)
    step = torch.full((2,), length)
    product = jacobian.finite_difference(lambda z: rounded.raw(z, noise), u.to(dtype), step)[1]
    return product(c.to(dtype)), truth


def error(dtype: torch.dtype, length: float) -> float:
    found, truth = linearized(dtype, length)
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize("sigma", [0.002, 0.05, 0.5])
def test_bfloat16_takes_a_longer_step(sigma: float) -> None:
    """In units of u, where c_in = 2 at small noise levels."""
    short, long = (
        2 * jacobian.difference_length(sigma, ELEMENTS, dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert error(torch.float32, short) < 0.02
    assert error(torch.bfloat16, long) < 0.2
    assert error(torch.bfloat16, short) > 2 * error(torch.bfloat16, long)


def test_a_zero_direction_gives_zero() -> None:
    denoiser = small_denoiser()
    u = torch.randn(2, *SHAPE)
    _, product = jacobian.finite_difference(
        lambda z: denoiser.raw(z, torch.zeros(2)), u, torch.full((2,), 0.1)
    )
    tangent = torch.randn(2, *SHAPE)
    tangent[0] = 0
    found = product(tangent)
    assert bool((found[0] == 0).all()) and bool(torch.isfinite(found).all())
    assert found[1].abs().max() > 0
