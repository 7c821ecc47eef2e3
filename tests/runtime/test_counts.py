"""Passes through the network, counted inside it by an op that no compiler sees through."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

import vml_fast as vf
from tests.runtime.fake_graph import fake_graphs
from tests.runtime.networks import SHAPE, SmallNetwork
from vml_fast.denoisers import EDMDenoiser
from vml_fast.operators import SuperResolution
from vml_fast.runtime import compiled

passes: Counter[str] = Counter()
STEPS, INNER_STEPS, STOP = 6, 3, 0.5


@torch.library.custom_op("vml_fast_tests::forward_pass", mutates_args=())
def forward_pass(x: Tensor) -> Tensor:
    passes["forward"] += 1
    return x.clone()


@torch.library.custom_op("vml_fast_tests::backward_pass", mutates_args=())
def backward_pass(x: Tensor) -> Tensor:
    passes["backward"] += 1
    return x.clone()


forward_pass.register_fake(torch.empty_like)
backward_pass.register_fake(torch.empty_like)
forward_pass.register_autograd(lambda ctx, gradient: backward_pass(gradient))


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = SmallNetwork(SHAPE[0])

    def forward(self, u: Tensor, c_noise: Tensor) -> Tensor:
        return forward_pass(self.network(u, c_noise))


def counted(**settings) -> tuple[Counter[str], vf.Result, int]:
    """The passes of a solve, its result, and how many of its levels are optimized."""
    H = SuperResolution(SHAPE, 2)
    denoiser = EDMDenoiser(Counted(), SHAPE)
    y = H(torch.randn(2, *SHAPE))
    if settings.get("compile"):
        vf.VMLMAP(denoiser, H, steps=1, inner_steps=1, **settings).solve(y)  # the warm-up
    solver = vf.VMLMAP(
        denoiser, H, steps=STEPS, inner_steps=INNER_STEPS, stop_sigma=STOP, **settings
    )
    passes.clear()
    result = solver.solve(y)
    return passes, result, int((solver.schedule > STOP).sum())


def assert_nothing_is_wasted(passes: Counter[str], result: vf.Result, optimized: int) -> None:
    """K + 1 forwards and K VJPs at an optimized level, one forward at another."""
    assert 0 < optimized < STEPS
    assert passes["forward"] == result.denoiser_calls == INNER_STEPS * optimized + STEPS
    assert passes["backward"] == result.vjp_calls == INNER_STEPS * optimized


def test_eager() -> None:
    assert_nothing_is_wasted(*counted())


@pytest.mark.skipif(
    compiled.obstacle(torch.device("cpu"), "vjp") is not None, reason="no C++ compiler"
)
def test_compiled() -> None:
    assert_nothing_is_wasted(*counted(compile=True))


def test_recorded() -> None:
    """A recording that is replayed calls what was called; recording itself, on a GPU, nothing."""
    with fake_graphs() as graphs:
        count, result, optimized = counted(cuda_graph=True)
    recordings = len(graphs.recorded)
    assert recordings == 2
    count["forward"] -= recordings
    count["backward"] -= 1
    assert_nothing_is_wasted(count, result, optimized)


def test_finite_differences_take_two_forwards_and_no_backward() -> None:
    count, result, optimized = counted(jacobian="finite_difference")
    assert count["backward"] == 0
    assert count["forward"] == result.network_passes == 2 * INNER_STEPS * optimized + STEPS


def test_a_split_batch_takes_the_same_passes_for_each_part() -> None:
    H = SuperResolution(SHAPE, 2)
    solver = vf.VMLMAP(EDMDenoiser(Counted(), SHAPE), H, steps=2, inner_steps=3)
    passes.clear()
    result = solver.solve(H(torch.randn(5, *SHAPE)), max_batch=2)
    assert passes["forward"] == 3 * result.denoiser_calls == 3 * (2 * 3 + 2)
    assert passes["backward"] == 3 * result.vjp_calls == 3 * (2 * 3)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("use_prior", [True, False])
def test_map_ga_calls_the_denoiser_once_more_a_step_for_its_prior(
    use_prior: bool, recorded: bool
) -> None:
    H = SuperResolution(SHAPE, 2)
    denoiser = EDMDenoiser(Counted(), SHAPE)
    solver = vf.MAPGA(denoiser, H, use_prior=use_prior, steps=4, inner_steps=3, cuda_graph=recorded)
    with fake_graphs() as graphs:
        passes.clear()
        result = solver.solve(H(torch.randn(2, *SHAPE)))
    assert len(graphs.recorded) == 2 * recorded
    a_step = 2 if use_prior else 1
    passes["forward"] -= (a_step + 1) * recorded  # a recording on a GPU calls nothing
    passes["backward"] -= recorded
    assert passes["forward"] == result.denoiser_calls == 4 * (3 * a_step + 1)
    assert passes["backward"] == result.vjp_calls == 4 * 3
