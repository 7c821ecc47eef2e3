import math

import pytest
import torch

from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.errors import InputError
from vml_fast.training.loss import PreconditionedNetwork, draw_sigma, edm_loss
from vml_fast.training.sampling import heun_sample


def test_loss_of_the_zero_denoiser_is_the_weighted_power_of_the_images():
    images = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.05, 0.7, 30.0])
    losses = edm_loss(lambda x, s: torch.zeros_like(x), images, sigma, torch.ones(3, 3, 4, 4), 0.5)
    weight = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
    torch.testing.assert_close(losses, weight * images.square().mean((1, 2, 3)))


def test_loss_of_the_exact_denoiser_of_gaussian_images_is_one():
    # D = sd² x/(sd² + sigma²) has error variance sd² sigma²/(sd² + sigma²) = 1/lambda
    generator = torch.Generator().manual_seed(0)
    images, noise = (torch.randn(4, 3, 64, 64, generator=generator) for _ in range(2))
    sigma = torch.tensor([0.01, 0.3, 1.0, 20.0])

    def denoise(x, s):
        return 0.25 / (0.25 + s[:, None, None, None] ** 2) * x

    losses = edm_loss(denoise, 0.5 * images, sigma, noise, 0.5)
    torch.testing.assert_close(losses, torch.ones(4), atol=0.05, rtol=0)  # 12288 pixels: std .013


def test_preconditioned_network_of_output_zero_is_the_skip_connection():
    seen = []

    def network(x, timestep):
        seen.append((x, timestep))
        return torch.zeros_like(x)

    module = torch.nn.Module()
    module.forward = network
    x, sigma = torch.randn(2, 3, 4, 4), torch.tensor([0.5, 2.0])
    denoised = PreconditionedNetwork(module, 0.5, 32.0)(x, sigma)
    skip = 0.25 / (0.25 + sigma**2)
    torch.testing.assert_close(denoised, skip[:, None, None, None] * x)
    torch.testing.assert_close(seen[0][1], 32 * sigma.log() / 4)
    torch.testing.assert_close(seen[0][0], x / (0.25 + sigma**2).sqrt()[:, None, None, None])


def test_drawn_noise_levels_are_log_normal_and_stratified():
    generator = torch.Generator().manual_seed(0)
    logs = draw_sigma(4096, -0.4, 1.5, generator).log()
    assert math.isclose(logs.mean(), -0.4, abs_tol=0.01)
    assert math.isclose(logs.std(), 1.5, abs_tol=0.01)
    pair = draw_sigma(2, 0.0, 1.0, generator).log()
    assert pair.min() < 0 < pair.max()  # one on either side of the median in every batch


def test_sampler_finds_the_only_image_of_a_known_denoiser():
    image = torch.rand(1, 3, 4, 4) * 2 - 1
    samples = heun_sample(lambda x, s: image.expand_as(x), torch.randn(2, 3, 4, 4), steps=6)
    torch.testing.assert_close(samples, image.expand(2, -1, -1, -1), atol=1e-4, rtol=0)


def test_unshuffled_identity_is_the_identity():
    x = torch.randn(2, 3, 8, 8)
    network = PixelUnshuffled(torch.nn.Identity(), 2)
    network.unet.forward = lambda sample, timestep: sample
    torch.testing.assert_close(network(x, torch.zeros(2)), x)
    with pytest.raises(InputError, match="factor must be at least 1, got 0"):
        PixelUnshuffled(torch.nn.Identity(), 0)
