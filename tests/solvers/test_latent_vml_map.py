"""VML-MAP in latent space: against closed forms, and against pixel space on the same matrices."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch

import vml_fast as vf
from tests.denoisers.linear_autoencoder import F64, IMAGE_SHAPE, LATENT_SHAPE
from tests.solvers.latent_problems import LatentProblem
from vml_fast.errors import InputError
from vml_fast.runtime import latent as terms
from vml_fast.solvers import LatentVMLMAP
from vml_fast.solvers.latent_vml_map import project


@pytest.mark.parametrize("stop_sigma", [None, 0.5])
def test_gauss_newton_equals_the_noise_aware_form_on_the_latents_themselves(stop_sigma):
    problem = LatentProblem(0.05)
    common = {"noise_std": 0.05, "steps": 8, "inner_steps": 4, "prior_weight": 1.0}
    common["stop_sigma"] = stop_sigma
    y = problem.y.repeat(2, 1)
    found = vf.VMLMAP(
        problem.prior, problem.operator, cg_steps=20, final_projection=False, **common
    ).solve(y, seed=3)
    truth = vf.VMLMAP(
        problem.denoiser, problem.on_latents, preconditioner="noise_aware", **common
    ).solve(problem.y_on_latents.repeat(2, 1), seed=3)
    torch.testing.assert_close(found.image, problem.image(truth.image), rtol=0, atol=1e-6)
    assert (found.denoiser_calls, found.vjp_calls) == (truth.denoiser_calls, truth.vjp_calls)
    assert found.autoencoder_calls > 3 * found.vjp_calls


def test_gradient_equals_the_plain_form_on_the_latents_themselves(monkeypatch):
    monkeypatch.setattr(terms, "POWER_MARGIN", 1.0)
    monkeypatch.setattr(terms, "POWER_STEPS", 200)
    monkeypatch.setattr(terms, "LATER_POWER_STEPS", 200)
    problem = LatentProblem(0.05)
    common = {"noise_std": 0.05, "steps": 8, "inner_steps": 4, "preconditioner": None}
    found = vf.VMLMAP(problem.prior, problem.operator, prior_weight=1.0, **common).solve(problem.y)
    truth = vf.VMLMAP(problem.denoiser, problem.on_latents, **common).solve(problem.y_on_latents)
    torch.testing.assert_close(found.image, problem.image(truth.image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("autoencoder_std", [0.0, 0.1])
@pytest.mark.parametrize("noise_std", [0.05, 0.2])
def test_it_ends_where_the_gradient_of_the_loss_vanishes(noise_std, autoencoder_std):
    problem = LatentProblem(noise_std, autoencoder_std)
    sigma = 0.4
    result = vf.VMLMAP(
        problem.prior, problem.operator, noise_std=noise_std, schedule=[sigma], inner_steps=150,
        preconditioner="gauss_newton", prior_weight=1.0, cg_steps=10,
        autoencoder_std=autoencoder_std, final_projection=False,
    ).solve(problem.y)  # fmt: skip
    truth = problem.image(problem.stationary(sigma)[None])
    torch.testing.assert_close(result.image, truth, rtol=0, atol=1e-3)


def test_reencoding_equals_gauss_newton_where_the_encoder_is_the_pseudo_inverse():
    """H invertible, no noise: both solve H Dec(D + v) = y, whose solution is unique."""
    problem = LatentProblem(0.0)
    whole = vf.operators.Denoising(IMAGE_SHAPE)
    y = problem.image(problem.mean.reshape(1, *LATENT_SHAPE))
    images = [
        vf.VMLMAP(
            problem.prior, whole, steps=4, inner_steps=2, preconditioner=name, cg_steps=20,
            final_projection=False,
        ).solve(y).image
        for name in ("reencode", "gauss_newton")
    ]  # fmt: skip
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=1e-5)


def test_the_final_projection_is_the_posterior_mean_around_the_decoded_image():
    problem = LatentProblem(0.1, 0.3)
    options = {"noise_std": 0.1, "steps": 4, "inner_steps": 2}
    plain = vf.VMLMAP(problem.prior, problem.operator, **options).solve(problem.y)
    moved = vf.VMLMAP(problem.prior, problem.operator, final_projection=True, **options).solve(
        problem.y
    )
    x = plain.image.flatten(1)
    gain = (
        0.09
        * problem.h.T
        @ torch.linalg.inv(
            0.09 * problem.h @ problem.h.T + 0.01 * torch.eye(len(problem.h), dtype=F64)
        )
    )
    truth = x + (problem.y - x @ problem.h.T) @ gain.T
    torch.testing.assert_close(moved.image.flatten(1), truth, rtol=0, atol=1e-10)


def test_the_error_of_the_autoencoder_counts_as_said():
    problem = LatentProblem(0.0, 0.4)

    def stds(**options):
        solver = LatentVMLMAP(problem.prior, problem.operator, **options)
        return solver.autoencoder_std, solver.projection_std

    assert stds() == (0.1, 0.4)
    assert stds(preconditioner=None) == (0.0, 0.4)
    assert stds(autoencoder_std=0.2) == (0.2, 0.2)
    assert stds(autoencoder_std=0.0) == (0.0, 0.0)


@pytest.mark.parametrize("has_svd", [True, False])
def test_without_an_error_of_the_autoencoder_noisy_images_stay_where_they_are(has_svd):
    problem = LatentProblem(0.3)
    operator = problem.operator
    if not has_svd:
        operator = vf.operators.LinearMap(problem.operator.forward, IMAGE_SHAPE)
    x = torch.randn(2, *IMAGE_SHAPE, dtype=F64)
    y = problem.y.repeat(2, 1)
    moved = project(x, operator, y, torch.tensor([0.3, 1e-9], dtype=F64), 0.0)
    assert torch.equal(moved[0], x[0])
    assert operator.residual(moved, y)[1] < 1e-6 < operator.residual(moved, y)[0]


def test_by_default_noiseless_data_are_met_and_noisy_ones_left_alone():
    problem = LatentProblem(0.0)
    y = problem.y.repeat(2, 1)
    y[1] += 0.3
    solver = vf.VMLMAP(
        problem.prior, problem.operator, noise_std=torch.tensor([0.0, 0.3]), steps=4, inner_steps=2
    )
    residual = solver.solve(y).residual
    assert residual[0] < 1e-10 and residual[1] > 1e-3


def test_restore_and_the_tau_form_take_a_latent_prior():
    problem = LatentProblem(0.05)
    options = {"noise_std": 0.05, "steps": 4, "inner_steps": 2}
    pre = vf.restore(problem.y, problem.operator, problem.prior, **options)
    same = LatentVMLMAP(problem.prior, problem.operator, **options).solve(problem.y)
    assert torch.equal(pre.image, same.image)
    tau = vf.restore(
        problem.y, problem.operator, problem.prior, method="vml-map-tau-pre", **options
    )
    assert tau.vjp_calls < pre.vjp_calls


def test_a_sample_does_not_depend_on_its_batch():
    problem = LatentProblem(0.05, 0.1)
    y = torch.cat([problem.y, problem.y + 0.2, problem.y - 0.1])
    solver = vf.VMLMAP(problem.prior, problem.operator, noise_std=0.05, steps=4, inner_steps=2)
    together = solver.solve(y).image
    split = solver.solve(y, max_batch=1).image
    torch.testing.assert_close(together, split, rtol=0, atol=1e-10)
    alone = solver.solve(y[2:], sample_index=[2]).image
    torch.testing.assert_close(together[2:], alone, rtol=0, atol=1e-10)


def test_a_callback_sees_images_and_ends_the_solve():
    problem = LatentProblem(0.05)
    seen = []

    def watch(state):
        seen.append(tuple(state.denoised.shape))
        return state.level < 1

    vf.VMLMAP(problem.prior, problem.operator, noise_std=0.05, steps=5, inner_steps=1).solve(
        problem.y, callback=watch
    )
    assert seen == [(1, *IMAGE_SHAPE)] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preconditioner": "noise_aware"}, "for a latent prior it must be"),
        ({"preconditioner": 3}, "for a latent prior it must be"),
        ({"cg_steps": 0}, "cg_steps is 0"),
        ({"autoencoder_std": -1.0}, "autoencoder_std must be a number"),
        ({"autoencoder_std": "large"}, "autoencoder_std must be a number"),
        ({"final_projection": "yes"}, "final_projection is 'yes'"),
        ({"prior_weight": 2.0}, "prior_weight is 2.0"),
        ({"step_size": 0.0}, "step_size"),
        ({"traces": "exact"}, "traces is no option of VML-MAP with a latent prior"),
        ({"jacobian": "jvp"}, "jacobian is no option of VML-MAP with a latent prior"),
    ],
)
def test_wrong_options_get_one_sentence(options, words):
    problem = LatentProblem(0.05)
    with pytest.raises(InputError, match=words):
        vf.VMLMAP(problem.prior, problem.operator, **options)


def test_the_class_shows_its_own_options_though_it_may_make_another():
    own = inspect.signature(vf.VMLMAP).parameters
    assert "jacobian" in own and "options" not in own
    assert "cg_steps" in inspect.signature(LatentVMLMAP).parameters
    problem = LatentProblem(0.05)
    assert type(vf.VMLMAP(problem.denoiser, problem.on_latents)) is vf.VMLMAP
    solver = copy.deepcopy(vf.VMLMAP(problem.prior, problem.operator, cg_steps=5))
    assert type(solver) is LatentVMLMAP and solver.cg_steps == 5


def test_other_denoisers_shapes_and_methods_get_one_sentence():
    problem = LatentProblem(0.05)
    with pytest.raises(InputError, match="needs a LatentDenoiser"):
        LatentVMLMAP(problem.denoiser, problem.operator)
    with pytest.raises(InputError, match="they must be equal"):
        vf.VMLMAP(problem.prior, vf.operators.Denoising((1, 8, 8)))
    with pytest.raises(InputError, match="initial has shape"):
        vf.VMLMAP(problem.prior, problem.operator).solve(
            problem.y, initial=torch.zeros(1, *IMAGE_SHAPE, dtype=F64)
        )
    for method in ("ddrm", "pigdm", "dps", "daps", "map-ga-d"):
        with pytest.raises(InputError, match="only VML-MAP runs on a latent prior"):
            vf.restore(problem.y, problem.operator, problem.prior, method=method)
