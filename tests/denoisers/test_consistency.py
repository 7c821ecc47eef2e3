"""The consistency model's boundary, its coefficients, and an exact case."""

from __future__ import annotations

import math

import pytest
import torch

from tests.denoisers.problems import F64
from vml_fast.denoisers import ConsistencyDenoiser
from vml_fast.denoisers.consistency import consistency_scalings
from vml_fast.errors import InputError

SHAPE = (2, 3, 4)


def images() -> torch.Tensor:
    return torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=F64)


@pytest.mark.parametrize("level", [0.002, 0.001])
def test_identity_at_the_smallest_level(level: float) -> None:
    model = ConsistencyDenoiser(lambda u, noise: 1e3 * u.sin(), SHAPE)
    x = images()
    assert torch.equal(model(x, torch.full((3,), level, dtype=F64)), x)


def test_equals_the_formula_of_the_paper() -> None:
    model = ConsistencyDenoiser(
        lambda u, noise: u.sin() + noise[:, None, None, None],
        SHAPE,
        sigma_data=0.4,
        sigma_min=0.01,
        noise_scale=1000.0,
    )
    x, sigma = images(), torch.tensor([0.011, 0.7, 20.0], dtype=F64)
    for i, s in enumerate(sigma.tolist()):
        skip = 0.4**2 / ((s - 0.01) ** 2 + 0.4**2)
        out = 0.4 * (s - 0.01) / math.sqrt(0.4**2 + s**2)
        raw = (x[i] / math.sqrt(s**2 + 0.4**2)).sin() + 250 * math.log(s)
        torch.testing.assert_close(
            model(x, sigma)[i], skip * x[i] + out * raw, rtol=1e-12, atol=1e-12
        )


def test_the_flow_of_a_gaussian_is_a_consistency_model() -> None:
    """N(0, sd² I): C(x; sigma) = x sqrt((sd² + eps²)/(sd² + sigma²)), by the network it implies."""
    sd, eps = 0.5, 0.002

    def network(u: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        sigma = (4 * noise).exp()
        c = consistency_scalings(sigma, sd, eps)
        flow = ((sd**2 + eps**2) / (sd**2 + sigma**2)).sqrt()
        return ((flow - c.skip) / (c.out * c.input))[:, None, None, None] * u

    x, sigma = images(), torch.tensor([0.1, 1.0, 80.0], dtype=F64)
    expected = x * ((sd**2 + eps**2) / (sd**2 + sigma**2)).sqrt()[:, None, None, None]
    torch.testing.assert_close(ConsistencyDenoiser(network, SHAPE)(x, sigma), expected)


def test_bad_arguments() -> None:
    for keywords, named in (
        ({"sigma_min": 0.0}, "sigma_min"),
        ({"sigma_data": -1.0}, "sigma_data"),
    ):
        with pytest.raises(InputError, match=named):
            ConsistencyDenoiser(lambda u, noise: u, SHAPE, **keywords)
