"""The step to the next noise level: the same integers on every backend, Gaussian noise from them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.ops import helpers
from tests.ops.helpers import DEVICE, INTERPRETED, KERNEL_BACKENDS, kernels
from vml_fast.ops import philox, resolve
from vml_fast.ops.transition import transition

NAME = "transition"


def counters(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    seed = torch.arange(batch) * 2**33 - 5
    return seed, torch.arange(batch) * 2**35 + 3, torch.tensor([7])


def arguments(shape: tuple[int, ...]):
    return torch.randn(shape), torch.rand(shape[0]) * 80, *counters(shape[0])


def test_reference_is_the_documented_noise() -> None:
    denoised, sigma, seed, sample, draw = arguments((3, 2, 5, 3))
    noise = philox.normal((3, 2, 5, 3), seed=seed, sample=sample, draw=7)
    expected = denoised + sigma.view(-1, 1, 1, 1) * noise
    assert torch.allclose(transition(denoised, sigma, seed, sample, draw), expected, rtol=1e-6)


@kernels
@pytest.mark.parametrize("elements", [1, 2, 3, 4, 5, 1001])
def test_integers_are_bit_identical(backend: str, elements: int) -> None:
    words = helpers.run("philox_words", backend, elements, *counters(3))[0]
    assert torch.equal(words, philox.philox_words(elements, *counters(3)))


@kernels
@helpers.shapes
@helpers.layouts
def test_layouts_and_shapes(backend: str, shape, layout: str, poisoned_memory: None) -> None:
    given = helpers.placed(arguments(shape), layout)
    helpers.assert_backend_agrees(NAME, backend, given)
    moved = [a.to(DEVICE) for a in given]
    result = resolve(NAME, backend, DEVICE)(*moved)
    assert result.stride() == torch.empty_like(moved[0]).stride()


@kernels
def test_an_image_does_not_depend_on_its_batch(backend: str) -> None:
    denoised, sigma, seed, sample, draw = arguments((4, 3, 7, 9))
    (whole,) = helpers.run(NAME, backend, denoised, sigma, seed, sample, draw)
    part = (denoised[2:3], sigma[2:3], seed[2:3], sample[2:3], draw)
    assert torch.equal(helpers.run(NAME, backend, *part)[0], whole[2:3])


@kernels
def test_shared_seeds(backend: str) -> None:
    denoised, sigma, seed, sample, draw = arguments((3, 1, 4, 4))
    given = (denoised, sigma[:1].expand(3), seed[:1].expand(3), sample, draw)
    helpers.assert_backend_agrees(NAME, backend, given)


@pytest.mark.skipif(INTERPRETED, reason="too many numbers for the interpreter")
@pytest.mark.parametrize("backend", ["reference", *KERNEL_BACKENDS])
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
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean()
    assert abs(neighbours) < 5 / n**0.5


@kernels
@pytest.mark.parametrize(
    ("position", "wrong"),
    [
        (1, torch.zeros(3)),
        (2, torch.zeros(2)),
        (3, torch.zeros(3, dtype=torch.int64)),
        (4, torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, position: int, wrong: Tensor) -> None:
    helpers.assert_refused(NAME, backend, arguments((2, 3, 4, 4)), position, wrong)


def test_opcheck() -> None:
    helpers.opcheck(NAME, arguments((2, 3, 6, 5)))
    helpers.opcheck("philox_words", (9, *counters(2)))
