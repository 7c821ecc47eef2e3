"""The step to the next noise level: the same integers and Gaussian noise on every backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops import helpers
from tests.ops.helpers import INTERPRETED, everywhere, kernels
from vml_fast.ops import philox
from vml_fast.ops.transition import transition

NAME = "transition"


def counters(batch: int, draw: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    seed = torch.arange(batch) * 2**33 - 5
    return seed, torch.arange(batch) * 2**35 + 3, torch.tensor([draw])


def arguments(shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    return torch.randn(shape), torch.rand(shape[0]) * 80, *counters(shape[0])


def test_reference_is_the_documented_noise() -> None:
    denoised, sigma, seed, sample, draw = arguments((3, 2, 5, 3))
    noise = philox.normal((3, 2, 5, 3), seed=seed, sample=sample, draw=7)
    expected = denoised + sigma.view(-1, 1, 1, 1) * noise
    assert torch.allclose(transition(denoised, sigma, seed, sample, draw), expected, rtol=1e-6)


@kernels
@pytest.mark.parametrize("elements", [1, 2, 3, 4, 5, 1001])
def test_integers_are_bit_identical(backend: str, elements: int, poisoned_memory: None) -> None:
    """Seeds and samples that use all their 64 bits, draws beyond 32 bits, strided counters."""
    extremes = torch.tensor([0, -1, 2**63 - 1, -(2**63), 2**31, 2**32])
    for seed, sample, draw in (
        counters(3),
        (extremes, extremes.flip(0), torch.tensor([2**32 + 3])),
        (extremes[::2], extremes[1::2], torch.tensor([-1])),
        (extremes[:0], extremes[:0], torch.tensor([0])),
    ):
        (words,) = helpers.run("philox_words", backend, elements, seed, sample, draw)
        assert torch.equal(words, philox.philox_words(elements, seed, sample, draw))


@kernels
@helpers.shapes
@helpers.layouts
def test_layouts_and_shapes(
    backend: str, shape: tuple[int, ...], layout: str, poisoned_memory: None
) -> None:
    given = helpers.placed(arguments(shape), layout)
    helpers.assert_backend_agrees(NAME, backend, given)
    (x,) = helpers.run(NAME, backend, *given)
    assert x.stride() == torch.empty_like(given[0]).stride()


@everywhere
def test_the_noise_is_box_muller_of_the_integers(backend: str) -> None:
    """Two normals from two words each, by NumPy in float64."""
    counts = counters(2)
    words = philox.philox_words(60, *counts).reshape(2, -1, 2).numpy() >> 8
    radius = np.sqrt(-2 * np.log((words[..., 0] + 1) / 2**24))
    angle = 2 * np.pi * words[..., 1] / 2**24
    noise = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(2, 3, 4, 5)
    (x,) = helpers.run(NAME, backend, torch.zeros(2, 3, 4, 5), torch.ones(2), *counts)
    helpers.assert_agrees((x.double(),), (torch.from_numpy(noise),))


@everywhere
def test_without_noise_the_state_is_the_denoised_image(backend: str) -> None:
    denoised, sigma, *counts = arguments((2, 3, 5, 7))
    (x,) = helpers.run(NAME, backend, denoised, 0 * sigma, *counts)
    assert torch.equal(x, denoised)


@everywhere
def test_an_image_depends_on_neither_its_batch_nor_its_format(backend: str) -> None:
    denoised, sigma, seed, sample, draw = arguments((4, 3, 7, 9))
    (whole,) = helpers.run(NAME, backend, denoised, sigma, seed, sample, draw)
    part = (denoised[2:3], sigma[2:3], seed[2:3], sample[2:3], draw)
    assert torch.equal(helpers.run(NAME, backend, *part)[0], whole[2:3])
    last = (helpers.channels_last(denoised), sigma, seed, sample, draw)
    assert torch.equal(helpers.run(NAME, backend, *last)[0], whole)


@kernels
def test_shared_seeds(backend: str) -> None:
    denoised, sigma, seed, sample, draw = arguments((3, 1, 4, 4))
    given = (denoised, sigma[:1].expand(3), seed[:1].expand(3), sample, draw)
    helpers.assert_backend_agrees(NAME, backend, given)


@pytest.mark.skipif(INTERPRETED, reason="too many numbers for the interpreter")
@everywhere
def test_noise_is_standard_normal(backend: str) -> None:
    """Moments within five standard errors, and the tails as far as 24 bits reach."""
    shape = (1, 1, 400, 500)
    zeros, one = torch.zeros(shape), torch.ones(1)
    (noise,) = helpers.run(NAME, backend, zeros, one, *counters(1))
    n = noise.numel()
    assert abs(noise.mean()) < 5 / n**0.5
    assert abs(noise.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((noise**4).mean() - 3) < 5 * (96 / n) ** 0.5
    assert noise.abs().max() < 5.78
    neighbors = (noise[..., 1:] * noise[..., :-1]).mean()
    assert abs(neighbors) < 5 / n**0.5


@kernels
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("denoised", torch.zeros(2, 3, 4)),
        ("denoised", torch.zeros(2, 3, 4, 4, dtype=torch.float64)),
        ("sigma", torch.zeros(3)),
        ("sigma", torch.zeros(2, dtype=torch.float64)),
        ("seed", torch.zeros(2)),
        ("seed", torch.zeros(3, dtype=torch.int64)),
        ("sample", torch.zeros(3, dtype=torch.int64)),
        ("draw", torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, argument: str, wrong: Tensor) -> None:
    helpers.assert_refused(NAME, backend, arguments((2, 3, 4, 4)), argument, wrong)


@kernels
def test_no_element_has_no_words(backend: str) -> None:
    helpers.assert_refused("philox_words", backend, (1, *counters(2)), "elements", 0)


@pytest.mark.gpu
@helpers.two_devices
@kernels
def test_tensors_on_two_devices_are_refused(backend: str) -> None:
    helpers.assert_refuses_mixed_devices(NAME, backend, arguments((2, 3, 4, 4)))


@kernels
def test_opcheck(backend: str) -> None:
    helpers.opcheck(NAME, backend, arguments((2, 3, 6, 5)))
    helpers.opcheck("philox_words", backend, (9, *counters(2)))
