"""Variance-preserving networks: schedules, interpolation, and optimal predictors in closed form."""

import math

import numpy as np
import pytest
import torch

from vml_fast.denoisers import GaussianMixtureDenoiser, VPDenoiser
from vml_fast.denoisers.vp import alphas_cumprod, zero_terminal_snr
from vml_fast.errors import InputError

from .problems import F64

SHAPE = (1, 2, 3)
MEAN = torch.linspace(-0.5, 0.5, 6, dtype=F64).reshape(1, *SHAPE)
VARIANCE = torch.linspace(0.01, 0.3, 6, dtype=F64).reshape(1, 6)
SCHEDULES = ("linear", "scaled_linear", "cosine")
PREDICTIONS = ("eps", "x0", "v")


def optimal_network(prediction: str, log_sigma_of_step):
    """The best predictor for N(MEAN, VARIANCE), written in variance-preserving coordinates."""

    def network(u, t):
        sigma = torch.as_tensor(np.exp(log_sigma_of_step(t.numpy())), dtype=F64)
        abar = (1 / (1 + sigma**2)).reshape(-1, 1, 1, 1)
        variance = VARIANCE.reshape(1, *SHAPE)
        gain = abar.sqrt() * variance / (abar * variance + 1 - abar)
        x0 = MEAN + gain * (u - abar.sqrt() * MEAN)
        eps = (u - abar.sqrt() * x0) / (1 - abar).sqrt()
        return {"x0": x0, "eps": eps, "v": abar.sqrt() * eps - (1 - abar).sqrt() * x0}[prediction]

    return network


def log_sigmas(schedule: str) -> np.ndarray:
    abar = alphas_cumprod(schedule).numpy()
    return 0.5 * np.log((1 - abar) / abar)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_an_optimal_network_gives_the_exact_denoiser(schedule, prediction) -> None:
    """At the schedule's own levels and between them, where the network interpolates alike."""
    levels = log_sigmas(schedule)
    network = optimal_network(prediction, lambda t: np.interp(t, np.arange(1000), levels))
    denoiser = VPDenoiser(network, SHAPE, schedule, prediction)
    exact = GaussianMixtureDenoiser(MEAN, VARIANCE)
    steps = np.array([0, 1, 30.25, 499, 500.5, 950.75])
    sigma = torch.as_tensor(np.exp(np.interp(steps, np.arange(1000), levels)))
    x = MEAN + sigma.reshape(-1, 1, 1, 1) * torch.randn(len(steps), *SHAPE, dtype=F64)
    torch.testing.assert_close(denoiser(x, sigma), exact(x, sigma), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(denoiser.time_step(sigma).numpy(), steps, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_interpolation_error_against_a_continuous_schedule(prediction) -> None:
    """A network that knows the cosine schedule between its steps, where sigma is interpolated."""

    def log_sigma(t):
        angle = ((t + 1) / 1000 + 0.008) / 1.008 * math.pi / 2
        abar = np.cos(angle) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        return 0.5 * np.log((1 - abar) / abar)

    steps = np.array([0.5, 1.5, 2.5, 10.5, 300.5, 800.5])
    sigma = torch.as_tensor(np.exp(log_sigma(steps)))
    denoiser = VPDenoiser(lambda u, t: u, SHAPE, "cosine")
    assumed = np.exp(log_sigma(denoiser.time_step(sigma).numpy()))
    off = np.abs(assumed / sigma.numpy() - 1)
    assert off.max() < 0.031 and off[3:].max() < 1e-3
    denoiser = VPDenoiser(optimal_network(prediction, log_sigma), SHAPE, "cosine", prediction)
    x = MEAN + sigma.reshape(-1, 1, 1, 1) * torch.randn(len(steps), *SHAPE, dtype=F64)
    error = denoiser(x, sigma) - GaussianMixtureDenoiser(MEAN, VARIANCE)(x, sigma)
    assert (error.flatten(1).abs().amax(1) / sigma)[:3].max() < 0.1
    assert (error.flatten(1).abs().amax(1) / sigma)[3:].max() < 2e-3


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_equal_those_of_diffusers(schedule) -> None:
    diffusers = pytest.importorskip("diffusers")
    name = {"cosine": "squaredcos_cap_v2"}.get(schedule, schedule)
    betas = {"scaled_linear": (0.00085, 0.012)}.get(schedule, (1e-4, 0.02))
    for steps in (1000, 50):
        theirs = diffusers.DDPMScheduler(
            steps, beta_schedule=name, beta_start=betas[0], beta_end=betas[1]
        ).alphas_cumprod.double()
        ours = alphas_cumprod(schedule, steps)
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=1e-9)


def test_own_betas_and_zero_terminal_snr() -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(
        100, beta_start=0.001, beta_end=0.1, rescale_betas_zero_snr=True
    ).alphas_cumprod.double()
    ours = zero_terminal_snr(alphas_cumprod("linear", 100, 0.001, 0.1))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    denoiser = VPDenoiser(lambda u, t: u, SHAPE, ours)
    assert math.isfinite(denoiser.sigma_max)
    assert denoiser.time_step(torch.tensor([1e9])).item() == 98  # step 99 has no finite sigma


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_level_outside_the_schedule_is_clipped(prediction) -> None:
    denoiser = VPDenoiser(lambda u, t: torch.tanh(u), SHAPE, "linear", prediction)
    assert denoiser.sigma_min == pytest.approx(0.0100005, rel=1e-4)
    assert denoiser.sigma_max == pytest.approx(157.4, rel=1e-3)
    x = torch.randn(2, *SHAPE)
    outside = denoiser(x, torch.tensor([1e-4, 1e4]))
    edge = denoiser(x, torch.tensor([denoiser.sigma_min, denoiser.sigma_max]))
    assert torch.equal(outside, edge)
    assert denoiser.time_step(torch.tensor([1e-4, 1e4])).tolist() == [0.0, 999.0]


def test_diffusers_networks_and_conditions() -> None:
    diffusers = pytest.importorskip("diffusers")
    blocks = {"block_out_channels": (8,), "norm_num_groups": 4, "layers_per_block": 1}
    unet = diffusers.UNet2DModel(
        sample_size=4, num_class_embeds=3, attention_head_dim=4, down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",), **blocks,
    )  # fmt: skip
    denoiser = VPDenoiser(unet, (3, 4, 4))
    x, sigma = torch.randn(2, 3, 4, 4), torch.tensor([0.5, 3.0])
    first, second = (denoiser(x, sigma, class_labels=torch.tensor(k)) for k in ([0, 1], [0, 2]))
    assert torch.equal(first[0], second[0]) and not torch.equal(first[1], second[1])
    t, c_in = denoiser.time_step(sigma), 1 / (1 + sigma**2).sqrt().reshape(-1, 1, 1, 1)
    eps = unet(c_in * x, t, class_labels=torch.tensor([0, 1])).sample
    torch.testing.assert_close(first, x - sigma.reshape(-1, 1, 1, 1) * eps)

    conditional = diffusers.UNet2DConditionModel(
        sample_size=4, in_channels=3, out_channels=3, cross_attention_dim=6, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
        **blocks,
    )  # fmt: skip
    denoiser = VPDenoiser(conditional, (3, 4, 4), "scaled_linear", "v")
    one, other = torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    results = [denoiser(x, sigma, encoder_hidden_states=states) for states in (one, one, other)]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"schedule": "sqrt"}, "schedule must be one of linear, scaled_linear, cosine, got 'sqrt'"),
        ({"schedule": [0.5]}, "schedule"),
        ({"schedule": [0.5, 0.9]}, "strictly decreasing"),
        ({"schedule": [1.0, 0.9]}, "schedule"),
        ({"schedule": [0.9, 0.5, -0.1]}, "schedule"),
        ({"schedule": [0.9, math.nan]}, "schedule"),
        ({"schedule": torch.rand(3, 3)}, "schedule"),
        ({"schedule": [0.9, 0.8, 0.7, 0.6, 0.65]}, r"shape \(5,\)"),
        ({"prediction": "epsilon"}, "prediction must be one of eps, x0, v"),
    ],
)
def test_bad_arguments(arguments, named) -> None:
    with pytest.raises(InputError, match=named):
        VPDenoiser(lambda u, t: u, SHAPE, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("linear", 1),
        ("linear", 2.5),
        ("linear", 10, 0.0),
        ("linear", 10, 0.1, 1.0),
        ("cosine", 10, 0.1),
    ],
)
def test_bad_schedules(arguments) -> None:
    with pytest.raises(InputError, match=r"steps|beta_start"):
        alphas_cumprod(*arguments)
