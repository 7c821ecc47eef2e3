"""The studies of traces, preconditioners and tau, small: what they claim has to be so."""

import json

import pytest
import torch

from tests.cli.conftest import run
from vml_fast.evaluation.studies import scaling, tau, traces
from vml_fast.evaluation.studies.priors import smooth_prior
from vml_fast.evaluation.studies.scaling_figure import scaling_figure
from vml_fast.evaluation.studies.tau_figure import tau_figure
from vml_fast.evaluation.studies.traces_figure import traces_figure
from vml_fast.objective import vml, vml_simplified


def test_the_traces_fade_below_the_noise():
    """Their share of the gradient is of the order of 1 near sigma_y, and nothing at the end."""
    problem = traces.toy_problem()
    runs, scores = traces.compare(
        problem, 8, steps=12, inner_steps=4, forms=("drop", "exact", "hutch++")
    )
    shares = dict(zip(runs["exact"].sigmas, runs["exact"].shares, strict=True))
    assert max(shares.values()) > 0.3
    assert shares[min(shares)] < 1e-2
    assert scores["drop"]["switched"] == 0.0
    assert set(runs["drop"].shares) == {0.0}
    figure = traces_figure([problem], [runs], [scores])
    assert len(figure.axes) == 4
    coverage = figure.axes[2]
    assert coverage.get_title(loc="left").startswith("Coverage of the modes\n(1 is best")
    widths = [bar.get_width() for bar in coverage.patches]
    assert widths == [scores[form]["coverage"] for form in runs]


def test_the_share_is_that_of_the_two_gradients():
    """At the first level, where the state is the noise alone: against differences of the loss."""
    problem = traces.toy_problem()
    level = 2.0
    y = problem.y.expand(2, 1).contiguous()
    x = torch.tensor([[0.3, -1.0], [2.0, 1.5]], dtype=torch.float64).reshape(2, 1, 1, 2)
    sigma = torch.full((2,), level, dtype=torch.float64)

    def gradient(loss):
        leaf = x.clone().requires_grad_(True)
        value = loss(
            problem.denoiser, problem.operator, y, leaf, sigma, problem.noise_std,
            problem.denoiser.log_prob,
        )  # fmt: skip
        return torch.autograd.grad(value.sum(), leaf)[0].flatten(1)

    rest = gradient(vml_simplified)
    ratio = (gradient(vml) - rest).norm(dim=1) / rest.norm(dim=1)
    found = traces._share(problem, "exact", y, x, level, 0)
    assert found == pytest.approx(float(ratio.median()), rel=1e-6)


def test_the_smooth_prior_is_diagonal_for_the_cosine_transform():
    fft = pytest.importorskip("scipy.fft")
    prior = smooth_prior(8, 3)
    covariance = prior.mixture.covariances[0].reshape(8, 8, 8, 8).numpy()
    transformed = fft.dctn(
        fft.dctn(covariance, axes=(0, 1), norm="ortho"), axes=(2, 3), norm="ortho"
    )
    spectrum = torch.from_numpy(transformed).reshape(64, 64)
    frequency = (torch.arange(8.0)[:, None] ** 2 + torch.arange(8.0) ** 2).sqrt().flatten()
    expected = torch.diag((0.5 / (1.0 + frequency) ** 2).square()).double()
    torch.testing.assert_close(spectrum, expected, atol=1e-10, rtol=1e-6)


def test_the_noise_aware_form_needs_no_decomposition_and_no_good_condition():
    prior = smooth_prior(8, 3)
    found = scaling.quality(prior, (0.5, 1.0), count=1, steps=10, inner_steps=3)
    by = {(one.width, one.form): one for one in found}
    wide = {form: by[(1.0, form)] for form in scaling.FORMS}
    assert wide["none"].condition > 100
    assert wide["noise_aware"].error < 0.2 * wide["none"].error
    assert wide["noise_aware by CG"].error == pytest.approx(wide["noise_aware"].error, rel=1e-3)
    spent = scaling.costs((8,), repeats=1)
    assert [one.operator for one in spent] == ["separable blur", "dense matrix"]
    assert len(scaling_figure(found, spent).axes) == 2


def test_a_decomposition_pays_after_its_set_up_over_the_gain():
    assert scaling.Cost(8, "x", setup=6.0, apply=1.0, by_cg=3.0).pays_after == 3.0
    assert scaling.Cost(8, "x", setup=6.0, apply=3.0, by_cg=1.0).pays_after == float("inf")


def test_the_naive_step_diverges_below_the_bound_and_the_stable_one_does_not():
    prior = smooth_prior(8, 3)
    trial = tau.artifacts(prior, tau.exact_images(prior, 1), steps=14, inner_steps=12)
    low = [i for i, sigma in enumerate(trial.sigmas) if sigma < 0.35 * tau.SHOWN_NOISE]
    naive, stable = trial.growth["step σ_y²"], trial.growth["stable step"]
    assert max(naive[i] for i in low) > 10
    assert max(stable) < 1.5
    assert trial.images["step σ_y²"].abs().max() > 5
    assert trial.images["stable step"].abs().max() < 2


def test_the_sweep_is_over_both_forms():
    prior = smooth_prior(8, 3)
    truth = tau.exact_images(prior, 2)
    found = tau.sweep(prior, truth, (0.1,), (0.0, 1.0), steps=8, inner_steps=2)
    assert [(p.ratio, p.preconditioned) for p in found] == [
        (0.0, False), (0.0, True), (1.0, False), (1.0, True),
    ]  # fmt: skip
    trial = tau.artifacts(prior, truth[:1], steps=4, inner_steps=1)
    studies = [tau.Study(name, found, trial) for name in ("one", "two")]
    assert len(tau_figure(studies).axes) == 14


def test_the_commands_write_their_files(monkeypatch, tmp_path):
    point = tau.Point(0.1, 0.0, False, 30.0, 1.0)
    trial = tau.Trial(
        torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), {"step σ_y²": torch.zeros(3, 4, 4)},
        [1.0, 0.1], {"step σ_y²": [1.0, float("nan")]},
    )  # fmt: skip
    for name in ("exact_study", "learned_study"):
        study = tau.Study(name, [point], trial)
        monkeypatch.setattr(tau, name, lambda images, study=study: study)

    def quality(count, inner_steps):
        return [scaling.Quality(1.0, 10.0, inner_steps, "none", 0.1, 1.0)]

    monkeypatch.setattr(scaling, "quality", quality)
    monkeypatch.setattr(scaling, "costs", lambda: [scaling.Cost(8, "dense matrix", 1, 0.1, 0.2)])
    for study in ("tau", "scaling"):
        result = run("evaluate", study, "--images", 1, "--output", tmp_path)
        assert result.exit_code == 0, result.output + repr(result.exception)
        json.loads((tmp_path / f"{study}.json").read_text())
        assert (tmp_path / f"{study}.png").stat().st_size > 5000


@pytest.mark.parametrize(
    "arguments",
    [
        ("traces", "--samples", 2), ("traces", "--side", 5), ("scaling", "--images", 0),
        ("tau", "--images", 0),
    ],
)  # fmt: skip
def test_bad_options(arguments, tmp_path):
    result = run("evaluate", *arguments, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert arguments[1] in result.output
    assert not (tmp_path / "out").exists()
