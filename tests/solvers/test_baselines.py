"""What MAP-GA and the samplers share with VML-MAP: one interface, one set of promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import vml_fast as vf
from tests.solvers.operators import MATRIX_FREE, SHAPE, measured
from tests.solvers.operators import OPERATORS as EVERY_OPERATOR
from tests.solvers.problems import SHAPE as SMALL
from tests.solvers.problems import problem
from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.errors import BackendUnavailable, InputError
from vml_fast.solvers import BASELINES, State, restore

METHODS = tuple(BASELINES)
PRIOR = GaussianMixtureDenoiser(
    torch.stack([torch.full((192,), 0.3), torch.linspace(-0.8, 0.8, 192)]),
    torch.tensor([0.04, 0.09]),
    image_shape=SHAPE,
)
TRUTH = PRIOR.mixture.sample(2, generator=torch.Generator().manual_seed(0))


def options(method: str, consistency: object = PRIOR) -> dict:
    """Short runs. Any callable will do for the consistency model."""
    by_model = {"consistency": consistency} if method in ("map-ga", "map-ga-np") else {}
    ascent = {"steps": 5, "inner_steps": 3, "pigdm_steps": 4}
    return {
        "ddrm": {"steps": 8},
        "pigdm": {"steps": 10},
        "daps": {"steps": 6, "langevin_steps": 4, "ode_steps": 2},
        "dps": {"steps": 15},
    }.get(method, ascent) | by_model


OPERATORS = EVERY_OPERATOR | {"matrix-free": MATRIX_FREE}
KINDS = ("map-ga", "map-ga-d-np", "ddrm", "pigdm", "daps", "dps")
PAIRS = [(m, n) for m in KINDS for n in OPERATORS if (m, n) != ("ddrm", "matrix-free")]


@pytest.mark.parametrize(("method", "name"), PAIRS)
def test_finite_at_every_measurement_noise(method: str, name: str) -> None:
    operator = OPERATORS[name]
    for noise_std in (0.0, 1e-9, 0.01, 0.05, 0.1):
        y = measured(operator, TRUTH, noise_std).float()
        result = restore(y, operator, PRIOR, method=method, noise_std=noise_std, **options(method))
        assert bool(torch.isfinite(result.image).all())
        assert result.image.shape == (2, *SHAPE)
        assert result.image.dtype == torch.float32


@pytest.mark.parametrize(("method", "name"), PAIRS)
def test_a_batch_equals_its_images_one_by_one(method: str, name: str) -> None:
    operator = OPERATORS[name]
    y, sigma_y = measured(operator, TRUTH, 0.05).float(), torch.tensor([0.05, 0.1])
    settings = {"method": method, "seed": 7, **options(method)}
    together = restore(y, operator, PRIOR, noise_std=sigma_y, **settings).image
    for i in range(2):
        rows = slice(i, i + 1)
        alone = restore(
            y[rows],
            operator.select(rows),
            PRIOR,
            noise_std=sigma_y[rows],
            sample_index=[i],
            **settings,
        ).image
        torch.testing.assert_close(alone, together[rows], rtol=0, atol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_counts_of_network_passes(method: str) -> None:
    setting = problem(noise_std=0.05)
    calls = []

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        assert sigma.shape == (4,)
        calls.append(float(sigma[0]))
        return setting.denoiser(x, sigma)

    chosen = options(method, consistency=denoiser)
    result = restore(setting.y, setting.operator, denoiser, method=method, noise_std=0.05, **chosen)
    steps, inner, tail = (chosen.get(k, 0) for k in ("steps", "inner_steps", "pigdm_steps"))
    expected = {"ddrm": (8, 0), "pigdm": (10, 10), "daps": (12, 0), "dps": (15, 15)}
    ascent = (steps * (inner + 1) + tail, steps * inner + tail)  # Algorithm 3 has no prior
    assert (result.denoiser_calls, result.vjp_calls) == expected.get(method, ascent)
    assert result.denoiser_calls == len(calls)
    if method in ("map-ga", "map-ga-d"):
        result = restore(setting.y, setting.operator, denoiser, method=method, **chosen)
        assert (result.denoiser_calls, result.vjp_calls) == (5 * (2 * 3 + 1), 5 * 3)


@pytest.mark.parametrize("method", METHODS)
def test_interface(method: str) -> None:
    """Seeds, conditions, progress, arrays of NumPy, callbacks that stop, a start of one's own."""
    setting = problem(noise_std=0.05)

    def conditioned(x: Tensor, sigma: Tensor, shift: float = 0.0) -> Tensor:
        return setting.denoiser(x, sigma) + shift

    chosen = options(method, consistency=conditioned) | {"method": method, "noise_std": 0.05}
    arguments = (setting.y, setting.operator, conditioned)

    def run(**keywords: object) -> Tensor:
        return restore(*arguments, **(chosen | keywords)).image

    plain = run()
    assert torch.equal(plain, run(progress=True))
    assert not torch.allclose(plain, run(seed=1))
    assert not torch.allclose(plain, run(condition={"shift": 0.1}))
    start = torch.full_like(setting.truth, 5.0)
    assert not torch.equal(plain, run(initial=start))
    with pytest.raises(InputError, match="initial"):
        run(initial=start[:1])

    seen: list[State] = []
    result = restore(*arguments, **chosen, callback=seen.append, keep_images=True)
    assert [state.level for state in seen] == list(range(len(result.trace)))
    assert [state.sigma for state in seen] == sorted((s.sigma for s in seen), reverse=True)
    assert all(state.denoised.shape == (4, *SMALL) for state in result.trace)
    stopped = restore(*arguments, **chosen, callback=lambda state: state.level < 1)
    assert len(stopped.trace) == 2
    assert stopped.image.shape == (4, *SMALL)

    array = restore(setting.y.numpy(), setting.operator, conditioned, **chosen).image
    np.testing.assert_array_equal(array, plain.numpy())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"schedule": [1.0, 2.0]}, "schedule"),
        ({"noise_std": -0.1}, "noise_std"),
        ({"noise_std": [0.1, 0.2]}, "noise_std"),
        ({"backend": "fortran"}, "backend"),
    ],
)
def test_bad_settings(method: str, keywords: dict, named: str) -> None:
    setting = problem()
    chosen = options(method, consistency=setting.denoiser) | keywords
    with pytest.raises(InputError, match=named):
        restore(setting.y, setting.operator, setting.denoiser, method=method, **chosen)


@pytest.mark.parametrize("method", METHODS)
def test_a_backend_that_cannot_run_is_refused(method: str) -> None:
    setting = problem()
    chosen = options(method, consistency=setting.denoiser)
    with pytest.raises(BackendUnavailable):
        restore(
            setting.y, setting.operator, setting.denoiser, method=method, backend="cuda", **chosen
        )


def test_public_names() -> None:
    assert {"map-ga", "map-ga-np", "map-ga-d", "map-ga-d-np", "ddrm", "pigdm", "daps", "dps"} == {
        *BASELINES
    }
    for name in ("MAPGA", "DDRM", "PiGDM", "DAPS", "DPS"):
        assert issubclass(getattr(vf, name), vf.solvers.Solver)
    setting = problem()
    with pytest.raises(InputError, match=r"method is 'ddpm'.*vml-map-pre.*pigdm"):
        restore(setting.y, setting.operator, setting.denoiser, method="ddpm")
