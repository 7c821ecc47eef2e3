"""VML-MAP against Gaussian mixtures, whose posteriors are known, and the plain reference."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import Tensor

import vml_fast as vf
from tests.solvers.problems import SHAPE, Problem, matrix, mixture, problem
from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.errors import InputError
from vml_fast.operators import Inpainting, LinearMap, MatrixOperator
from vml_fast.solvers import METHODS, VMLMAP, State, method_options, restore

METHOD_NAMES = tuple(METHODS)


def gap_to_mode(setting: Problem, image: Tensor, index: int) -> float:
    """log p at the nearest mode of the exact posterior minus log p at the restoration, in nats."""
    posterior = setting.denoiser.posterior(setting.operator, setting.y[index], setting.noise_std)
    modes = posterior.modes()
    nearest = modes[(modes - image).flatten(1).norm(dim=1).argmin()]
    values = posterior.log_prob(torch.stack([nearest, image.to(modes)]), 0.0)
    return float(values[0] - values[1])


@pytest.mark.parametrize(
    ("method", "nats"),
    [("vml-map", 0.1), ("vml-map-pre", 0.1), ("vml-map-tau", 0.5), ("vml-map-tau-pre", 0.5)],
)
def test_noisy_restorations_end_at_a_mode_of_the_posterior(method: str, nats: float) -> None:
    setting = problem(noise_std=0.05)
    result = restore(
        setting.y,
        setting.operator,
        setting.denoiser,
        method=method,
        noise_std=0.05,
        inner_steps=50,
    )
    gaps = [gap_to_mode(setting, image, i) for i, image in enumerate(result.image)]
    assert max(gaps) < nats


def test_noiseless_with_weight_one_ends_at_a_mode_of_the_null_space() -> None:
    setting = problem()
    result = VMLMAP(
        setting.denoiser,
        setting.operator,
        inner_steps=50,
        preconditioner="noise_aware",
        prior_weight=1.0,
    ).solve(setting.y)
    gaps = [gap_to_mode(setting, image, i) for i, image in enumerate(result.image)]
    assert max(gaps) < 0.05


@pytest.mark.parametrize("form", ["pseudo_inverse", "noise_aware"])
@pytest.mark.parametrize("weight", [0.0, "auto", 1.0])
def test_noiseless_preconditioned_residual_vanishes(form: str, weight: float | str) -> None:
    setting = problem()
    result = VMLMAP(
        setting.denoiser,
        setting.operator,
        preconditioner=form,
        prior_weight=weight,
    ).solve(setting.y)
    assert result.residual.max() < 1e-5


@pytest.mark.parametrize("noise_std", [0.0, 0.05])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_equals_the_plain_reference(method: str, noise_std: float) -> None:
    setting = problem(noise_std=noise_std)
    options = method_options(method, noise_std)
    settings = {"noise_std": noise_std, "steps": 6, "inner_steps": 3, **options}
    fast = VMLMAP(setting.denoiser, setting.operator, **settings).solve(setting.y, seed=5)
    plain = vf.reference.vml_map(setting.denoiser, setting.operator, setting.y, seed=5, **settings)
    torch.testing.assert_close(fast.image, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("noise_std", [0.0, 1e-9, 0.01, 0.05, 0.1])
def test_finite_at_every_noise_level_and_norm(method: str, noise_std: float) -> None:
    for norm in (1.0, 30.0):
        setting = problem(noise_std=noise_std, norm=norm, dtype=torch.float32)
        result = restore(
            setting.y, setting.operator, setting.denoiser, method=method, noise_std=noise_std
        )
        assert bool(torch.isfinite(result.image).all())
        assert result.image.abs().max() < 3.0


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_vanishing_noise_equals_none(method: str) -> None:
    setting = problem(dtype=torch.float32)
    images = [
        restore(setting.y, setting.operator, setting.denoiser, method=method, noise_std=s).image
        for s in (0.0, 1e-9)
    ]
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_batch_equals_its_images_one_by_one(method: str) -> None:
    setting = problem(noise_std=0.05, dtype=torch.float32)
    sigma_y = torch.tensor([0.05, 0.0, 0.1, 0.05])
    seeds = torch.tensor([3, 3, 4, 5])

    def run(rows: list[int]) -> Tensor:
        return restore(
            setting.y[rows],
            setting.operator,
            setting.denoiser,
            method=method,
            noise_std=sigma_y[rows],
            seed=seeds[rows],
            sample_index=rows,
        ).image

    together = run([0, 1, 2, 3])
    apart = torch.cat([run([i]) for i in range(4)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


def test_per_sample_masks_equal_each_mask_alone() -> None:
    denoiser = mixture()
    masks = (torch.rand(4, 1, 2, 4, generator=torch.Generator().manual_seed(0)) < 0.6).double()
    masks[:, :, 0, 0] = 1
    truth = denoiser.mixture.sample(4, generator=torch.Generator().manual_seed(1))
    together = restore(masks * truth, Inpainting(SHAPE, masks), denoiser).image
    apart = [
        restore(
            (masks * truth)[i : i + 1], Inpainting(SHAPE, masks[i]), denoiser, sample_index=[i]
        ).image
        for i in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=1e-9)


@pytest.mark.parametrize("jacobian", ["jvp", "finite_difference"])
def test_cheaper_jacobian_products_agree_where_the_jacobian_is_symmetric(jacobian: str) -> None:
    setting = problem(noise_std=0.05)
    exact, cheap = (
        VMLMAP(setting.denoiser, setting.operator, noise_std=0.05, jacobian=name).solve(setting.y)
        for name in ("vjp", jacobian)
    )
    tolerance = 1e-6 if jacobian == "jvp" else 0.05
    torch.testing.assert_close(cheap.image, exact.image, rtol=0, atol=tolerance)


@pytest.mark.parametrize("preconditioner", [None, "pseudo_inverse", "noise_aware"])
@pytest.mark.parametrize("noise_std", [0.0, 0.05])
def test_conjugate_gradients_equal_the_svd(
    preconditioner: str | None, noise_std: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = problem(noise_std=noise_std)
    dense = matrix()
    matrix_free = LinearMap(lambda x: x.flatten(1) @ dense.to(x).T, SHAPE)
    monkeypatch.setattr(matrix_free, "norm", setting.operator.norm)  # in place of its estimate
    by_svd, by_cg = (
        VMLMAP(
            setting.denoiser,
            operator,
            noise_std=noise_std,
            steps=8,
            inner_steps=4,
            preconditioner=preconditioner,
            prior_weight=0.3 if preconditioner else "auto",
        ).solve(setting.y)
        for operator in (setting.operator, matrix_free)
    )
    torch.testing.assert_close(by_cg.image, by_svd.image, rtol=0, atol=1e-7)


@pytest.mark.parametrize("noise_std", [0.0, 1e-9, 1e-3, 0.05])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_an_svd_y_may_be_outside_of_the_range_of_h(
    noise_std: float, dtype: torch.dtype
) -> None:
    """More measurements than pixels, and a part of y that no image has."""
    generator = torch.Generator().manual_seed(4)
    n = prod(SHAPE)
    tall = torch.randn(2 * n, n, generator=generator, dtype=dtype) / n**0.5
    y = torch.randn(2, 2 * n, generator=generator, dtype=dtype)
    problems = (
        MatrixOperator(tall, SHAPE),
        LinearMap(lambda x: x.flatten(1) @ tall.to(x).T, SHAPE),
    )
    settings = {"noise_std": noise_std, "preconditioner": "noise_aware"}
    by_svd, by_cg, reference = (
        VMLMAP(small_prior(dtype), H, steps=5, inner_steps=3, **settings).solve(y).image
        if solved
        else vf.reference.vml_map(small_prior(dtype), H, y, steps=5, inner_steps=3, **settings)
        for H, solved in ((problems[0], True), (problems[1], True), (problems[1], False))
    )
    tolerance = 1e-3 if dtype == torch.float32 else 1e-7
    torch.testing.assert_close(by_cg, by_svd, rtol=0, atol=tolerance)
    torch.testing.assert_close(reference, by_svd, rtol=0, atol=tolerance)


def small_prior(dtype: torch.dtype) -> GaussianMixtureDenoiser:
    means = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(5)).to(dtype)
    return GaussianMixtureDenoiser(means, 0.2**2)


def test_counts_of_network_passes() -> None:
    setting = problem(noise_std=0.05)
    calls = []

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append(float(sigma[0]))
        return setting.denoiser(x, sigma)

    solver = VMLMAP(
        denoiser, setting.operator, noise_std=0.05, steps=10, inner_steps=3, stop_sigma=0.05
    )
    result = solver.solve(setting.y)
    optimized = int((solver.schedule > 0.05).sum())
    assert 0 < optimized < 10
    assert result.denoiser_calls == len(calls) == 3 * optimized + 10
    assert result.vjp_calls == 3 * optimized
    assert result.network_passes == result.denoiser_calls + result.vjp_calls


def test_trace_and_callback() -> None:
    setting = problem()
    seen: list[State] = []
    result = restore(
        setting.y,
        setting.operator,
        setting.denoiser,
        steps=5,
        inner_steps=2,
        callback=seen.append,
        keep_images=True,
    )
    assert [s.level for s in result.trace] == [0, 1, 2, 3, 4]
    assert [s.sigma for s in seen] == VMLMAP(
        setting.denoiser, setting.operator, steps=5
    ).schedule.tolist()
    assert torch.equal(result.trace[-1].denoised, result.image)
    expected = setting.operator.residual(result.image, setting.y)
    torch.testing.assert_close(result.residual, expected)


def test_a_callback_stops_the_solve() -> None:
    setting = problem()
    result = restore(
        setting.y,
        setting.operator,
        setting.denoiser,
        steps=5,
        inner_steps=2,
        callback=lambda state: state.level < 2,
    )
    assert len(result.trace) == 3
    assert result.trace[0].denoised is None
    assert bool(torch.isfinite(result.image).all())


def test_seeds_decide_the_result() -> None:
    setting = problem()

    def run(seed: int) -> Tensor:
        return restore(setting.y, setting.operator, setting.denoiser, seed=seed).image

    assert torch.equal(run(0), run(0))
    assert not torch.allclose(run(0), run(1))


def test_an_operator_of_the_same_structure_is_taken_in_its_place() -> None:
    setting = problem()
    other = MatrixOperator(matrix(seed=9), SHAPE)
    y = other(setting.truth)
    solver = VMLMAP(setting.denoiser, setting.operator)
    expected = VMLMAP(setting.denoiser, other).solve(y).image
    assert torch.equal(solver.solve(y, operator=other).image, expected)
    with pytest.raises(InputError, match="structure"):
        solver.solve(y, operator=MatrixOperator(matrix(rows=5), SHAPE))


def test_final_projection_fits_the_measurement() -> None:
    setting = problem()
    result = VMLMAP(
        setting.denoiser, setting.operator, preconditioner=None, steps=3, final_projection=True
    ).solve(setting.y)
    assert result.residual.max() < 1e-6


def test_initial_replaces_the_first_draw() -> None:
    setting = problem()
    start = torch.zeros(4, *SHAPE, dtype=torch.float64)
    solver = VMLMAP(setting.denoiser, setting.operator, steps=1, inner_steps=0)
    expected = setting.denoiser(start, torch.full((4,), 80.0, dtype=torch.float64))
    torch.testing.assert_close(solver.solve(setting.y, initial=start).image, expected)


BAD_SETTINGS = [
    ({"steps": 0}, "steps"),
    ({"steps": 2.5}, "steps"),
    ({"inner_steps": -1}, "inner_steps"),
    ({"preconditioner": "svd"}, "preconditioner"),
    ({"prior_weight": 2.0}, "prior_weight"),
    ({"step_size": 0.0}, "step_size"),
    ({"step_size": float("nan")}, "step_size"),
    ({"schedule": [1.0, 2.0]}, "schedule"),
    ({"jacobian": "hessian"}, "jacobian"),
    ({"noise_std": -0.1}, "noise_std"),
    ({"noise_std": float("nan")}, "noise_std"),
    ({"noise_std": [0.1, 0.2]}, "noise_std"),
    ({"stop_sigma": -1.0}, "stop_sigma"),
]


@pytest.mark.parametrize(("keywords", "named"), BAD_SETTINGS)
def test_bad_settings(keywords: dict, named: str) -> None:
    setting = problem()
    with pytest.raises(InputError, match=named):
        VMLMAP(setting.denoiser, setting.operator, **keywords).solve(setting.y)


BAD_MEASUREMENTS = [
    (lambda y: y[0], "batch first"),
    (lambda y: y[:, :-1], "shape"),
    (lambda y: y[:0], "no image"),
    (lambda y: y.half(), "dtype"),
    (lambda y: y.long(), "dtype"),
    (lambda y: y * float("nan"), "NaN"),
    (lambda y: [[1.0]], "tensor"),
]


@pytest.mark.parametrize(("change", "said"), BAD_MEASUREMENTS)
def test_bad_measurements(change, said: str) -> None:
    setting = problem()
    with pytest.raises(InputError, match=said):
        VMLMAP(setting.denoiser, setting.operator).solve(change(setting.y))


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"seed": 0.5}, "seed"),
        ({"seed": [1, 2]}, "seed"),
        ({"sample_index": [0, 1]}, "sample_index"),
        ({"sample_index": [0.0, 1.0, 2.0, 3.0]}, "sample_index"),
        ({"initial": torch.zeros(1, *SHAPE)}, "initial"),
    ],
)
def test_bad_solve_arguments(keywords: dict, named: str) -> None:
    setting = problem()
    with pytest.raises(InputError, match=named):
        VMLMAP(setting.denoiser, setting.operator).solve(setting.y, **keywords)


def test_unknown_method_and_keyword() -> None:
    setting = problem()
    with pytest.raises(InputError, match="method"):
        restore(setting.y, setting.operator, setting.denoiser, method="map")
    with pytest.raises(TypeError, match="innner_steps"):
        restore(setting.y, setting.operator, setting.denoiser, innner_steps=3)


def test_image_shapes_must_agree() -> None:
    with pytest.raises(InputError, match="image_shape"):
        VMLMAP(mixture(), Inpainting((3, 4, 4), torch.ones(1, 4, 4)))
