"""MAP-GA on the runners of VML-MAP: fused, compiled and recorded steps equal plain ones."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.runtime.fake_graph import FakeGraphs, fake_graphs, fresh_graphs  # noqa: F401
from tests.runtime.networks import small_denoiser
from vml_fast import MAPGA, Result
from vml_fast.denoisers import EDMDenoiser
from vml_fast.errors import BackendUnavailable, InputError
from vml_fast.operators import LinearMap, task
from vml_fast.operators.base import LinearOperator
from vml_fast.runtime import compiled, runners

SHAPE = (3, 16, 16)
NOISE = torch.tensor([0.0, 0.05, 0.001])
"""Without noise, with noise above sigma_eps (Algorithm 3), and below it."""
TASKS = ("random70", "sr2", "colorize", "deblur-motion", "deblur-uniform", "walsh-hadamard")
Model = Callable[..., Tensor]


def consistency() -> EDMDenoiser:
    """Another network than D."""
    model = small_denoiser(SHAPE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    return model


def hidden(model: EDMDenoiser) -> Model:
    """The same function as a callable whose network and coefficients nobody sees."""
    return lambda x, sigma, **condition: model(x, sigma, **condition)


def solve(
    operator: LinearOperator,
    denoiser: Model,
    model: Model | None,
    seed: int = 3,
    **settings,
) -> Result:
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    settings = {"noise_std": NOISE, "steps": 4, "inner_steps": 3, "pigdm_steps": 2} | settings
    solver = MAPGA(denoiser, operator, consistency=model, sigma_eps=0.002, **settings)
    return solver.solve(operator(images), condition={"labels": torch.tensor([0, 1, 2])})


@pytest.mark.parametrize("use_prior", [True, False])
@pytest.mark.parametrize("name", TASKS)
def test_a_network_equals_a_plain_callable(name: str, use_prior: bool) -> None:
    denoiser, model, H = small_denoiser(SHAPE), consistency(), task(name, SHAPE)
    fast = solve(H, denoiser, model, use_prior=use_prior)
    plain = solve(H, hidden(denoiser), hidden(model), use_prior=use_prior, backend="reference")
    assert (fast.image - plain.image).norm() < 1e-4 * plain.image.norm()


@pytest.mark.parametrize("use_prior", [True, False])
@pytest.mark.parametrize("name", TASKS)
def test_a_recorded_step_holds_at_every_level(
    graphs: FakeGraphs, name: str, use_prior: bool
) -> None:
    denoiser, model, H = small_denoiser(SHAPE), consistency(), task(name, SHAPE)
    plain = solve(H, denoiser, model, use_prior=use_prior, cuda_graph=False)
    recorded = solve(H, denoiser, model, use_prior=use_prior, cuda_graph=True)
    torch.testing.assert_close(recorded.image, plain.image, rtol=1e-6, atol=1e-6)
    assert (len(graphs.recorded), graphs.eager) == (2, 3 + 1)
    assert graphs.replays == (4 * 3 - 3) + (4 - 1)
    # D at sigma_eps once a step, C once more a level, and D in the levels of Algorithm 3
    calls = 4 * (3 * (1 + use_prior) + 1) + 2
    for result in (plain, recorded):
        assert (result.denoiser_calls, result.vjp_calls) == (calls, 4 * 3 + 2)


@pytest.mark.parametrize("by_denoiser", [True, False])
def test_a_recording_serves_other_measurements_and_no_other_denoiser(
    graphs: FakeGraphs, by_denoiser: bool
) -> None:
    H, model = task("random70", SHAPE), None if by_denoiser else consistency()
    for denoiser, seed in itertools.product((small_denoiser(SHAPE), consistency()), (3, 4)):
        recorded = solve(H, denoiser, model, seed, noise_std=0.001, cuda_graph=True)
        plain = solve(H, denoiser, model, seed, noise_std=0.001, cuda_graph=False)
        torch.testing.assert_close(recorded.image, plain.image, rtol=1e-6, atol=1e-6)
    assert len(graphs.recorded) == 2 * 2


def test_a_recording_keeps_no_denoiser_alive(graphs: FakeGraphs) -> None:
    denoiser, model = small_denoiser(SHAPE), consistency()
    solve(task("sr2", SHAPE), denoiser, model, cuda_graph=True)
    dead = [weakref.ref(denoiser), weakref.ref(model)]
    assert len(runners.recorded) == 1
    del denoiser, model
    gc.collect()
    assert [ref() for ref in dead] == [None, None]
    assert len(runners.recorded) == 0


@pytest.mark.skipif(
    compiled.obstacle(torch.device("cpu"), "vjp") is not None, reason="no C++ compiler"
)
@pytest.mark.parametrize("by_denoiser", [True, False])
def test_compiled_networks_equal_eager_ones(by_denoiser: bool) -> None:
    denoiser, H = small_denoiser(SHAPE), task("sr2", SHAPE)
    model = None if by_denoiser else consistency()
    before = len(compiled._compiled)
    found = solve(H, denoiser, model, compile=True)
    expected = solve(H, denoiser, model, compile=False)
    assert 0 < found.warmup_seconds < found.seconds
    assert len(compiled._compiled) == before + (1 if by_denoiser else 2)
    assert (found.image - expected.image).norm() < 1e-5 * expected.image.norm()
    assert solve(H, denoiser, model, compile=True).warmup_seconds == 0


def test_what_cannot_be_had_says_why() -> None:
    denoiser, H = small_denoiser(SHAPE), task("sr2", SHAPE)
    free = LinearMap(H.forward, SHAPE)
    with pytest.raises(BackendUnavailable, match="cuda_graph=True cannot be had"):
        solve(H, denoiser, None, cuda_graph=True)
    with fake_graphs(), pytest.raises(BackendUnavailable, match="conjugate gradients"):
        solve(free, denoiser, None, cuda_graph=True)
    with pytest.raises(InputError, match="compile is 'yes'"):
        MAPGA(denoiser, H, compile="yes")
