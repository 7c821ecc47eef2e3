"""VML-MAP on every operator: equal to the plain reference, finite, and consistent with y."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import vml_fast as vf
from tests.solvers.operators import MATRIX_FREE, SHAPE, N, measured
from tests.solvers.operators import OPERATORS as EVERY_OPERATOR
from vml_fast import operators as ops
from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.operators.base import LinearOperator
from vml_fast.solvers import METHODS, method_options, restore


def _smooth_prior() -> GaussianMixtureDenoiser:
    """Two components whose pixels are correlated along rows, columns and channels."""
    side = torch.arange(8, dtype=torch.float64)
    line = torch.exp(-0.5 * ((side[:, None] - side) / 2.0) ** 2) + 0.05 * torch.eye(8)
    color = 0.7 * torch.ones(3, 3, dtype=torch.float64) + 0.3 * torch.eye(3)
    covariance = 0.1 * torch.kron(color, torch.kron(line, line)) / line[0, 0] ** 2
    means = torch.zeros(2, *SHAPE, dtype=torch.float64)
    means[0, 0], means[1, 2] = 0.4, 0.4
    return GaussianMixtureDenoiser(
        means.flatten(1), covariance.expand(2, N, N).clone(), image_shape=SHAPE
    )


PRIOR = _smooth_prior()
TRUTH = PRIOR.mixture.sample(2, generator=torch.Generator().manual_seed(0))


HALF = ops.Inpainting(SHAPE, ops.half_mask(SHAPE))
OPERATORS = EVERY_OPERATOR | {
    "half": HALF,
    "circular blur": ops.CircularBlur(SHAPE, torch.ones(5, 5).double() / 25),
}
WITHOUT_SVD = {
    "mask after blur": HALF @ OPERATORS["separable blur"],
    "matrix-free": MATRIX_FREE,
}


def _measured(operator: LinearOperator, noise_std: float, dtype: torch.dtype) -> Tensor:
    y = measured(operator, TRUTH, noise_std)
    return operator(operator.pseudo_inverse(y)).to(dtype) if noise_std == 0 else y.to(dtype)


@pytest.mark.parametrize("noise_std", [0.0, 0.05])
@pytest.mark.parametrize("method", tuple(METHODS))
@pytest.mark.parametrize("name", OPERATORS)
def test_equals_the_reference(name: str, method: str, noise_std: float) -> None:
    operator = OPERATORS[name]
    settings = {
        "noise_std": noise_std,
        "steps": 5,
        "inner_steps": 2,
        **method_options(method, noise_std),
    }
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        y = _measured(operator, noise_std, dtype)
        fast = vf.VMLMAP(PRIOR, operator, **settings).solve(y, seed=5).image
        plain = vf.reference.vml_map(PRIOR, operator, y, seed=5, **settings)
        torch.testing.assert_close(fast, plain, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("noise_std", [0.0, 0.05])
@pytest.mark.parametrize("method", tuple(METHODS))
@pytest.mark.parametrize("name", ["half", "block mean", "bicubic", "wide matrix", "tall matrix"])
def test_equals_the_reference_without_its_svd(name: str, method: str, noise_std: float) -> None:
    """Conjugate gradients, fast and plain, against the plain SVD."""
    operator = OPERATORS[name]
    blind = ops.LinearMap(operator.forward, SHAPE, adjoint=operator.adjoint)
    options = method_options(method, noise_std)
    settings = {"noise_std": noise_std, "steps": 4, "inner_steps": 2, **options}
    y = _measured(operator, noise_std, torch.float64)
    truth = vf.reference.vml_map(PRIOR, operator, y, seed=5, **settings)
    plain = vf.reference.vml_map(PRIOR, blind, y, seed=5, **settings)
    fast = vf.VMLMAP(PRIOR, blind, **settings).solve(y, seed=5).image
    torch.testing.assert_close(fast, plain, rtol=1e-8, atol=1e-8)
    if settings["preconditioner"] is not None:  # the estimated norm is 2 % above s_max
        torch.testing.assert_close(plain, truth, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("form", ["pseudo_inverse", "noise_aware"])
@pytest.mark.parametrize("name", OPERATORS)
def test_null_space_weight_equals_the_reference(name: str, form: str, weight: float) -> None:
    operator, settings = OPERATORS[name], {"steps": 4, "inner_steps": 2}
    y = _measured(operator, 0.0, torch.float64)
    settings |= {"preconditioner": form, "prior_weight": weight}
    fast = vf.VMLMAP(PRIOR, operator, **settings).solve(y).image
    plain = vf.reference.vml_map(PRIOR, operator, y, **settings)
    torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", tuple(METHODS))
@pytest.mark.parametrize("name", [*OPERATORS, *WITHOUT_SVD])
def test_finite_at_every_measurement_noise(name: str, method: str) -> None:
    operator = (OPERATORS | WITHOUT_SVD)[name]
    images = {}
    for noise_std in (0.0, 1e-9, 0.01, 0.05, 0.1):
        y = _measured(operator, noise_std, torch.float32)
        if noise_std == 1e-9:
            y = _measured(operator, 0.0, torch.float32)
        images[noise_std] = restore(
            y, operator, PRIOR, method=method, noise_std=noise_std, steps=6, inner_steps=2
        ).image
        assert bool(torch.isfinite(images[noise_std]).all())
    torch.testing.assert_close(images[0.0], images[1e-9], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", OPERATORS)
def test_noiseless_residual_vanishes_on_the_retained_range(name: str) -> None:
    operator = OPERATORS[name]
    y = _measured(operator, 0.0, torch.float32)
    result = restore(y, operator, PRIOR, steps=20, inner_steps=10)
    retained = operator.spectral_retained(y)
    error = operator.spectral_measurement(operator(result.image) - y) * retained
    assert error.square().mean().sqrt() < 1e-5


@pytest.mark.parametrize("name", [*OPERATORS, *WITHOUT_SVD])
def test_a_batch_equals_its_images_one_by_one(name: str) -> None:
    operator = (OPERATORS | WITHOUT_SVD)[name]
    y = _measured(operator, 0.05, torch.float32)
    settings = {"noise_std": 0.05, "steps": 6, "inner_steps": 3}
    together = restore(y, operator, PRIOR, **settings).image
    for i in range(2):
        alone = operator
        if operator.batch_size == 2:
            (values,) = operator.data.values()
            alone = type(operator)(SHAPE, values[i : i + 1])
        one = restore(y[i : i + 1], alone, PRIOR, sample_index=[i], **settings).image
        torch.testing.assert_close(one, together[i : i + 1], rtol=0, atol=1e-5)
