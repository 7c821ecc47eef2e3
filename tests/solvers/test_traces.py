"""VML-MAP on the full loss: its step against the closed form, in float64."""

import pytest
import torch

from tests.denoisers.numerics import finite_differences
from tests.denoisers.problems import F64, mixture_denoiser
from vml_fast import restore
from vml_fast.denoisers import load_denoiser
from vml_fast.errors import InputError
from vml_fast.objective import vml
from vml_fast.operators import Inpainting, LinearMap, MatrixOperator
from vml_fast.runtime import traces
from vml_fast.runtime.eager import EagerRunner
from vml_fast.runtime.fused import make_bracket
from vml_fast.runtime.network import Network, scalings_at
from vml_fast.runtime.noise import Noise
from vml_fast.runtime.problem import Level, Problem
from vml_fast.runtime.traces import TracesRunner, products_of
from vml_fast.solvers import VMLMAP

SHAPE = (1, 2, 3)
N = 6
LEVEL = 1.5
NOISE = torch.tensor([0.3, 0.05, 0.7], dtype=F64)


def prior():
    return mixture_denoiser(SHAPE)


def operators():
    generator = torch.Generator().manual_seed(7)
    matrix = torch.randn(4, N, generator=generator, dtype=F64) / 2
    dense = MatrixOperator(matrix, SHAPE)
    mask = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])[None]
    return {
        "matrix": (dense, matrix),
        "functions": (LinearMap(dense.forward, SHAPE, adjoint=dense.adjoint), matrix),
        "mask": (Inpainting(SHAPE, mask), torch.diag(mask.flatten()).double()),
    }


def state(operator):
    generator = torch.Generator().manual_seed(11)
    clean = prior().mixture.sample(3, generator=generator)
    y = operator.forward(clean)
    return y, clean + LEVEL * torch.randn(clean.shape, generator=generator, dtype=F64)


def one_step(operator, y, x, **options):
    """D at the state after one inner step."""
    solver = VMLMAP(prior(), operator, noise_std=NOISE, schedule=[LEVEL], inner_steps=1, **options)
    return solver.solve(y, initial=x).image


@pytest.mark.parametrize("name", operators())
def test_a_plain_step_descends_the_full_loss(name):
    operator, _ = operators()[name]
    y, x = state(operator)
    sigma = torch.full((3,), LEVEL, dtype=F64)
    slope = finite_differences(
        lambda z: vml(prior(), operator, y, z, sigma, NOISE, prior().log_prob), x
    )
    norm2 = max(1.0, operator.norm() ** 2)
    size = NOISE**2 * LEVEL**2 / (norm2 * LEVEL**2 + NOISE**2)
    expected = prior()(x - size.reshape(-1, 1, 1, 1) * slope, sigma)
    found = one_step(operator, y, x, preconditioner=None, traces="exact")
    dropped = one_step(operator, y, x, preconditioner=None)
    difference = float((dropped - expected).abs().max())
    assert difference > 1e-2
    assert float((found - expected).abs().max()) < 1e-6 * difference


@pytest.mark.parametrize("form", ["pseudo_inverse", "noise_aware"])
@pytest.mark.parametrize("name", operators())
def test_a_preconditioner_weights_the_traces_as_the_step(name, form):
    operator, matrix = operators()[name]
    y, x = state(operator)
    sigma = torch.full((3,), LEVEL, dtype=F64)
    _, s, vh = torch.linalg.svd(matrix)
    s = torch.cat([s, s.new_zeros(N - len(s))])
    kept = s > 1e-4 * s.max()
    sy2, st2 = (NOISE**2)[:, None], LEVEL**2
    null = sy2 / (st2 + sy2)
    if form == "pseudo_inverse":
        total = st2 + sy2
        weights = st2 / total - sy2 / total  # alpha s - beta, where s > 0
        weights = weights.expand(3, N)
    else:
        total = s**2 * st2 + sy2
        relax = (s**2 * st2 + null * sy2) / total
        weights = relax * (s**2 * st2 - sy2) / total
    weights = torch.where(kept, weights, -null)
    metric = vh.mT @ torch.diag_embed(weights) @ vh

    def value(z):
        return (metric @ prior().covariance(z, sigma)).diagonal(dim1=1, dim2=2).sum(1) / 2

    problem = Problem(operator, y, NOISE, form, "auto", 0.5, "reference")
    level = Level(torch.tensor(LEVEL, dtype=F64), scalings_at(prior(), sigma), torch.ones(3))
    noise = Noise(0, None, tuple(x.shape), x)
    plain = EagerRunner(Network(prior()), make_bracket(problem), x.clone())
    full = TracesRunner(prior(), problem, x.clone(), "vjp", "exact", 1, noise, {})
    for runner in (plain, full):
        runner.set_level(level)
        runner.inner_step()
    expected = 0.5 * finite_differences(value, x)
    torch.testing.assert_close(plain.x - full.x, expected, atol=1e-7, rtol=1e-5)
    assert float(expected.abs().max()) > 1e-3


def test_samples_that_are_not_optimized_take_no_traces():
    operator, _ = operators()["matrix"]
    y, x = state(operator)
    sigma = torch.full((3,), LEVEL, dtype=F64)
    found = one_step(
        operator, y, x, traces="exact", stop_sigma=torch.tensor([2.0, 0.0, 2.0], dtype=F64)
    )
    still = prior()(x, sigma)
    torch.testing.assert_close(found[[0, 2]], still[[0, 2]], atol=1e-12, rtol=0)
    assert float((found[1] - still[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("traces", ["hutchinson", "hutch++"])
def test_an_image_gets_its_own_probes_whatever_the_batch(traces):
    operator, _ = operators()["matrix"]
    y, _ = state(operator)
    options = {
        "noise_std": 0.1, "steps": 3, "inner_steps": 2, "traces": traces, "seed": 4,
        "preconditioner": None,
    }  # fmt: skip
    whole = restore(y, operator, prior(), **options)
    part = restore(y[1:], operator, prior(), **options, sample_index=[1, 2])
    torch.testing.assert_close(part.image, whole.image[1:], atol=1e-10, rtol=0)
    dropped = restore(y, operator, prior(), **options | {"traces": "drop"})
    assert float((dropped.image - whole.image).abs().max()) > 1e-4
    # a forward and the traces' products more, per step; one forward per level
    assert whole.denoiser_calls == 2 * 3 * 2 + 3
    assert whole.vjp_calls == 3 * 2 * (1 + products_of(traces, 3, N))


def test_products_are_counted_as_they_are_taken(monkeypatch):
    from vml_fast import covariance_traces

    taken = []
    product = covariance_traces._product

    def counted(*arguments, differentiable=False):
        taken.append(2 if differentiable else 1)
        return product(*arguments, differentiable=differentiable)

    monkeypatch.setattr(covariance_traces, "_product", counted)
    operator, _ = operators()["matrix"]
    y, x = state(operator)
    for form, probes in (("hutchinson", 4), ("hutch++", 6), ("exact", 1)):
        taken.clear()
        one_step(operator, y, x, traces=form, trace_probes=probes)
        assert sum(taken) == products_of(form, probes, N), form


def test_every_step_has_fresh_probes(monkeypatch):
    draws = []
    make = traces.trace_estimate

    def noted(*arguments, draw, **keys):
        draws.append(draw)
        return make(*arguments, draw=draw, **keys)

    monkeypatch.setattr(traces, "trace_estimate", noted)
    operator, _ = operators()["matrix"]
    y, _ = state(operator)
    restore(y, operator, prior(), traces="hutchinson", noise_std=0.1, steps=2, inner_steps=2)
    assert draws == [0, 1, 2, 3]


def test_wrong_arguments():
    operator, _ = operators()["matrix"]
    for options, message in (
        ({"traces": "all"}, "traces is 'all'; it must be one of drop, hutchinson, hutch"),
        ({"trace_probes": 0}, "trace_probes is 0; it must be a whole number of at least 1"),
        ({"traces": "hutch++", "trace_probes": 4}, "needs a multiple of 3"),
        ({"traces": "exact", "compile": True}, "compile is True; with traces='exact'"),
        ({"traces": "exact", "cuda_graph": True}, "cuda_graph is True; with traces='exact'"),
    ):
        with pytest.raises(InputError, match=message):
            VMLMAP(prior(), operator, **options)


def test_images_of_many_pixels_take_estimates():
    shape = (3, 64, 64)
    operator = Inpainting(shape, torch.ones(1, 64, 64))
    with pytest.raises(InputError, match="takes at most 4096 entries, and images have 12288"):
        VMLMAP(lambda x, sigma: x, operator, traces="exact")


def test_the_embedded_prior_takes_estimates_and_its_accelerated_form_says_no():
    pytest.importorskip("diffusers")
    shape = (3, 64, 64)
    mask = torch.ones(1, 64, 64)
    mask[:, :, 32:] = 0
    operator = Inpainting(shape, mask)
    y = torch.zeros(1, *shape)
    options = {"traces": "hutchinson", "trace_probes": 1, "schedule": [0.5], "inner_steps": 1}
    options |= {"noise_std": 0.1}
    found = restore(y, operator, load_denoiser("emoji64"), **options)
    dropped = restore(y, operator, load_denoiser("emoji64"), **options | {"traces": "drop"})
    assert bool(found.image.isfinite().all())
    assert not torch.equal(found.image, dropped.image)
    with pytest.raises(InputError, match="accelerated denoiser"):
        restore(y, operator, load_denoiser("emoji64", dtype="auto"), **options)
