"""Derivatives are the same in inference mode, for constant networks, and with other threads."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
import torch
from torch import Tensor

import vml_fast as vf
from tests.runtime.networks import SHAPE, small_denoiser
from vml_fast.autograd import math_attention, pullback
from vml_fast.covariance_traces import exact_traces, trace_gradient
from vml_fast.objective import vml_gradient
from vml_fast.operators import SuperResolution
from vml_fast.solvers import METHODS as FORMS

METHODS = [*FORMS, "map-ga-d", "ddrm", "pigdm", "daps", "dps"]
FEW = {"daps": {"steps": 3, "langevin_steps": 2}}


def measured() -> tuple[SuperResolution, Tensor]:
    operator = SuperResolution(SHAPE, 2)
    images = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    return operator, operator.forward(images)


@pytest.mark.parametrize("method", METHODS)
def test_a_solve_in_inference_mode_is_the_same(method: str) -> None:
    denoiser = small_denoiser()
    operator, y = measured()
    options = {"method": method, "noise_std": 0.05, **FEW.get(method, {"steps": 3})}
    expected = vf.restore(y, operator, denoiser, **options).image
    with torch.inference_mode():
        own = y + 0.0
        assert own.is_inference()
        found = vf.restore(own, operator, denoiser, **options).image
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        vf.restore(own, operator, denoiser, **options).image, expected, rtol=0, atol=1e-6
    )
    assert not found.is_inference()


def test_the_callers_modes_come_back() -> None:
    operator, y = measured()
    denoiser = small_denoiser()
    with torch.inference_mode():
        vf.restore(y, operator, denoiser, steps=1, inner_steps=1)
        assert torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_conditions_of_inference_mode() -> None:
    operator, y = measured()
    denoiser = small_denoiser()
    with torch.inference_mode():
        labels = torch.tensor([1, 2]) + 0
    solver = vf.VMLMAP(denoiser, operator, steps=2, inner_steps=1)
    found = solver.solve(y, condition={"labels": labels}).image
    expected = solver.solve(y, condition={"labels": torch.tensor([1, 2])}).image
    assert torch.equal(found, expected)


def test_the_reference_and_the_objective_in_inference_mode() -> None:
    operator, y = measured()
    denoiser = small_denoiser()
    x, sigma = torch.randn(2, *SHAPE), torch.tensor([0.5, 2.0])

    def all_of_them() -> list[Tensor]:
        return [
            vf.reference.vml_map(denoiser, operator, y, steps=2, inner_steps=1),
            vml_gradient(denoiser, operator, y, x, sigma, 0.1),
            trace_gradient(exact_traces, denoiser, lambda u: u, x, sigma),
            *exact_traces(denoiser, operator, x, sigma),
        ]

    expected = all_of_them()
    assert all(bool(one.abs().max() > 0) for one in expected)
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            for found, truth in zip(all_of_them(), expected, strict=True):
                torch.testing.assert_close(found, truth)


@pytest.mark.parametrize("weight", [None, torch.ones(4, requires_grad=True)])
def test_what_does_not_depend_on_the_image_has_no_derivative(weight: Tensor | None) -> None:
    def constant(x: Tensor, sigma: Tensor) -> Tensor:
        value = torch.zeros_like(x)
        return value if weight is None else value + weight.mean()

    operator, y = measured()
    x, sigma = torch.randn(2, *SHAPE), torch.ones(2)
    assert not vml_gradient(constant, operator, y, x, sigma, 0.1).any()
    assert not trace_gradient(exact_traces, constant, lambda u: u, x, sigma).any()
    trace, _ = exact_traces(constant, operator, x, sigma)
    assert not trace.any()
    vf.reference.vml_map(constant, operator, y, steps=2, inner_steps=1)
    vf.VMLMAP(constant, operator, steps=2, inner_steps=1).solve(y)


def test_the_identity_is_not_taken_for_a_constant() -> None:
    leaf = torch.ones(3, requires_grad=True)
    assert torch.equal(pullback(leaf, leaf, torch.arange(3.0)), torch.arange(3.0))


def test_two_threads_give_the_fast_attention_back() -> None:
    def fast() -> tuple[bool, bool]:
        cuda = torch.backends.cuda
        return cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled()

    before, inside, left = fast(), [], [Barrier(2), Barrier(2)]

    def first() -> None:
        with math_attention:
            left[0].wait(5)
            left[1].wait(5)
        inside.append(fast())

    def second() -> None:
        left[0].wait(5)
        with math_attention:
            left[1].wait(5)
            thread.join(5)
            inside.append(fast())

    thread = Thread(target=first)
    other = Thread(target=second)
    thread.start()
    other.start()
    other.join(10)
    assert before == (True, True)
    assert inside[-1] == (False, False)  # still held by the second
    assert fast() == before
