"""VML-MAP with the embedded network: batches, the reference, and every task of the command line."""

from __future__ import annotations

import pytest
import torch

import vml_fast as vf
from vml_fast.denoisers import EDMDenoiser
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.operators import TASKS, task

SHAPE = (3, 64, 64)


@pytest.fixture(scope="module")
def prior() -> EDMDenoiser:
    return vf.load_denoiser("emoji64")


@pytest.mark.parametrize("method", ["vml-map", "vml-map-pre"])
def test_a_batch_equals_its_images_one_by_one(prior: EDMDenoiser, method: str) -> None:
    _, truth = heldout_emoji(limit=3)
    H = task("sr4", SHAPE)
    y, settings = H(truth), {"method": method, "steps": 4, "inner_steps": 1}
    together = vf.restore(y, H, prior, **settings).image
    for i in range(3):
        alone = vf.restore(y[i : i + 1], H, prior, sample_index=[i], **settings).image
        torch.testing.assert_close(alone, together[i : i + 1], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_noisy_batch_equals_its_images_over_a_whole_solve(prior: EDMDenoiser) -> None:
    """200 steps on an ill-conditioned blur: rounding must not grow to what can be seen."""
    truth = heldout_emoji()[1][[5, 40]]
    H = task("deblur-gauss", SHAPE)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    y, settings = H(truth) + 0.05 * noise, {"noise_std": 0.05, "steps": 20, "inner_steps": 10}
    together = vf.restore(y, H, prior, **settings).image
    for i in range(2):
        alone = vf.restore(y[i : i + 1], H, prior, sample_index=[i], **settings).image
        torch.testing.assert_close(alone, together[i : i + 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["vml-map-pre", "vml-map-tau-pre"])
@pytest.mark.parametrize("name", ["half", "deblur-gauss"])
def test_equals_the_reference(prior: EDMDenoiser, name: str, method: str) -> None:
    _, truth = heldout_emoji(limit=2)
    H = task(name, SHAPE)
    y = H(truth)
    settings = {"noise_std": 0.05, "steps": 4, "inner_steps": 2}
    options = vf.solvers.method_options(method, 0.05)
    fast = vf.restore(y, H, prior, method=method, **settings).image
    plain = vf.reference.vml_map(prior, H, y, **settings, **options)
    # 1e-4 of the range [-1, 1]: rounding grows where a blur's small singular values are inverted
    torch.testing.assert_close(fast, plain, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_gives_an_image(prior: EDMDenoiser, name: str) -> None:
    _, truth = heldout_emoji(limit=1)
    mask = vf.operators.box_mask(SHAPE) if name == "inpaint" else None
    H = task(name, SHAPE, mask=mask)
    result = vf.restore(H(truth), H, prior, noise_std=0.05, steps=2, inner_steps=1)
    assert result.image.shape == truth.shape
    assert bool(torch.isfinite(result.image).all())


@pytest.mark.parametrize("jacobian", ["jvp", "finite_difference"])
def test_cheaper_jacobian_products_restore_as_well(prior: EDMDenoiser, jacobian: str) -> None:
    _, truth = heldout_emoji(limit=1)
    H = task("random70", SHAPE)
    errors = [
        (vf.restore(H(truth), H, prior, steps=6, inner_steps=2, jacobian=name).image - truth)
        .square()
        .mean()
        .sqrt()
        for name in ("vjp", jacobian)
    ]
    assert errors[1] < 1.25 * errors[0]
