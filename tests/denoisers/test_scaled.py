"""What all network adapters share: EDM's algebra, unwrapping, freezing, dtypes, shapes."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vml_fast.denoisers import EDMDenoiser, GaussianMixtureDenoiser, VPDenoiser
from vml_fast.denoisers.base import per_image
from vml_fast.errors import InputError

from .problems import F64, parameters

SHAPE = (2, 4, 6)


class Network(nn.Module):
    """A small network that uses its noise input, with dropout and, if asked, 2C channels out."""

    def __init__(self, channels_out: int = 2) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Conv2d(8, channels_out, 3, padding=1)

    def forward(self, u, noise, shift=0.0):
        return (
            self.last(self.drop(torch.tanh(self.first(u) + noise.to(u)[:, None, None, None])))
            + shift
        )


def images(dtype=torch.float32):
    return torch.randn(3, *SHAPE, dtype=dtype), torch.tensor([0.01, 0.7, 20.0], dtype=dtype)


def adapters(network):
    yield EDMDenoiser(network, SHAPE, noise_scale=32.0)
    for prediction in ("eps", "x0", "v"):
        yield VPDenoiser(network, SHAPE, "linear", prediction)


def test_edm_equals_the_formula_of_the_paper() -> None:
    network = Network().double()
    denoiser = EDMDenoiser(network, SHAPE, sigma_data=0.4, noise_scale=3.0)
    x, sigma = images(F64)
    for i, s in enumerate(sigma.tolist()):
        root = math.sqrt(s**2 + 0.4**2)
        raw = network(x[i : i + 1] / root, torch.tensor([3.0 * math.log(s) / 4], dtype=F64))
        expected = 0.4**2 / root**2 * x[i] + s * 0.4 / root * raw[0]
        torch.testing.assert_close(denoiser(x, sigma)[i], expected, rtol=1e-12, atol=1e-12)


def test_edm_around_the_optimal_network_is_the_exact_denoiser() -> None:
    """F = (D - c_skip x)/c_out of a Gaussian of standard deviation .5 is zero, and D shrinks x."""
    denoiser = EDMDenoiser(lambda u, noise: torch.zeros_like(u), SHAPE)
    x, sigma = images(F64)
    exact = GaussianMixtureDenoiser(torch.zeros(1, *SHAPE, dtype=F64), 0.25)
    torch.testing.assert_close(denoiser(x, sigma), exact(x, sigma), rtol=1e-12, atol=1e-12)


def test_forward_is_made_of_scalings_and_raw() -> None:
    x, sigma = images(F64)
    for denoiser in adapters(Network().double()):
        c = denoiser.scalings(sigma)
        assert all(value.shape == sigma.shape for value in c)
        raw = denoiser.raw(per_image(c.input, x) * x, c.noise)
        expected = per_image(c.skip, x) * x + per_image(c.out, x) * raw
        torch.testing.assert_close(denoiser(x, sigma), expected, rtol=1e-14, atol=1e-14)
    means, covariances, _, weights = parameters(n=math.prod(SHAPE))
    mixture = GaussianMixtureDenoiser(means, covariances, weights, image_shape=SHAPE)
    c = mixture.scalings(sigma)
    assert c.skip.eq(0).all() and c.out.eq(1).all() and c.input.eq(1).all()
    torch.testing.assert_close(mixture(x, sigma), mixture.raw(x, c.noise))


def test_learned_variance_channels_are_dropped() -> None:
    network = Network(channels_out=4)
    denoiser = VPDenoiser(network, SHAPE)
    u, noise = torch.randn(2, *SHAPE), torch.tensor([3.0, 4.5])
    assert torch.equal(denoiser.raw(u, noise), network(u, noise)[:, :2])
    assert denoiser(u, torch.tensor([1.0, 2.0])).shape == u.shape


@pytest.mark.parametrize("wrap", [lambda t: SimpleNamespace(sample=t), lambda t: (t, None)])
def test_wrapped_outputs_are_unwrapped(wrap) -> None:
    x, sigma = images()
    plain = EDMDenoiser(lambda u, noise: u.sin(), SHAPE)
    wrapped = EDMDenoiser(lambda u, noise: wrap(u.sin()), SHAPE)
    assert torch.equal(plain(x, sigma), wrapped(x, sigma))


def test_the_network_is_frozen_and_in_evaluation_mode() -> None:
    network = Network()
    denoiser = EDMDenoiser(network, SHAPE)
    x, sigma = images()
    assert not any(p.requires_grad for p in denoiser.parameters())
    assert not network.training
    x.requires_grad_()
    assert torch.equal(denoiser(x, sigma), denoiser(x, sigma))  # dropout would differ
    assert denoiser(x, sigma).requires_grad  # in x, not in the weights


def test_conditions_reach_the_network_as_keywords() -> None:
    denoiser = EDMDenoiser(Network(), SHAPE)
    x, sigma = images()
    shifted = denoiser(x, sigma, shift=1.0) - denoiser(x, sigma)
    out = per_image(denoiser.scalings(sigma).out, x).expand_as(x)
    torch.testing.assert_close(shifted, out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("network_dtype", "x_dtype", "expected"),
    [
        (torch.float16, torch.float32, torch.float32),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.float64, torch.float32, torch.float32),
        (torch.float32, torch.float64, torch.float64),
    ],
)
def test_the_output_has_the_precision_of_the_state(network_dtype, x_dtype, expected) -> None:
    network = Network()
    x, sigma = images()
    for reference, denoiser in zip(
        [d(x, sigma) for d in adapters(network)], adapters(network.to(network_dtype)), strict=True
    ):
        assert denoiser.network_dtype == network_dtype
        result = denoiser(x.to(x_dtype), sigma)
        assert result.dtype == expected
        error = (result - reference).flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1)
        assert error.max() < 0.05
        network.to(network_dtype)
    assert EDMDenoiser(lambda u, noise: u, SHAPE).network_dtype is None


def test_casting_the_module_leaves_the_coefficients_alone() -> None:
    sigma = torch.tensor([0.013, 0.7, 33.0], dtype=F64)
    for full, half in zip(adapters(Network()), adapters(Network()), strict=True):
        half.to(torch.bfloat16)
        for a, b in zip(full.scalings(sigma), half.scalings(sigma), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"image_shape": (3, 4)}, "image_shape"),
        ({"image_shape": (0, 4, 4)}, "image_shape"),
        ({"image_shape": (1.5, 4, 4)}, "image_shape"),
        ({"image_shape": None}, "image_shape"),
        ({"network": 3}, "network"),
        ({"sigma_min": 0.0}, "sigma_min"),
        ({"sigma_min": 90.0}, "sigma_min"),
        ({"sigma_max": math.inf}, "sigma_max"),
        ({"sigma_max": math.nan}, "sigma_max"),
        ({"sigma_data": 0.0}, "sigma_data"),
        ({"sigma_data": math.nan}, "sigma_data"),
        ({"noise_scale": 0.0}, "noise_scale"),
    ],
)
def test_bad_arguments(arguments, named) -> None:
    with pytest.raises(InputError, match=named):
        EDMDenoiser(**{"network": Network(), "image_shape": SHAPE} | arguments)


def test_bad_shapes_of_a_call() -> None:
    x, sigma = images()
    denoiser = EDMDenoiser(Network(), SHAPE)
    with pytest.raises(InputError, match=r"x must have shape \(B, 2, 4, 6\), got \(3, 2, 4, 5\)"):
        denoiser(x[..., :5], sigma)
    with pytest.raises(InputError, match=r"sigma must have shape \(3,\)"):
        denoiser(x, sigma[:2])
    with pytest.raises(InputError, match="network must return 2 or 4 channels"):
        EDMDenoiser(Network(channels_out=3), SHAPE)(x, sigma)
