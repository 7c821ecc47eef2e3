"""The embedded latent prior on held-out emoji."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("diffusers")

import vml_fast as vf
from vml_fast.denoisers.latent import reconstruction_error
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.metrics import psnr


@pytest.fixture(scope="module")
def prior():
    return vf.load_denoiser("emoji64-latent")


def test_it_knows_what_its_autoencoder_loses(prior):
    error = reconstruction_error(prior.autoencoder, heldout_emoji()[1][::8])
    assert prior.autoencoder_std == pytest.approx(float(error.square().mean().sqrt()), rel=0.2)
    latents = prior.encode(heldout_emoji()[1][::8])
    assert latents.std() == pytest.approx(0.5, rel=0.15)


def test_the_cures_beat_the_plain_gradient_and_the_pseudo_inverse(prior):
    truth = heldout_emoji(["1f316", "1f33c"])[1]
    operator = vf.operators.SuperResolution((3, 64, 64), 4)
    y = operator(truth)
    quality = {}
    for name in (None, "gauss_newton"):
        solver = vf.VMLMAP(prior, operator, steps=12, inner_steps=1, preconditioner=name)
        image = solver.solve(y).image
        assert operator.residual(image, y).max() < 1e-5
        quality[name] = float(psnr(image.clamp(-1, 1), truth).mean())
    start = float(psnr(operator.pseudo_inverse(y), truth).mean())
    assert quality["gauss_newton"] > quality[None] + 0.3 > start + 1.0
    assert torch.isfinite(image).all()
