"""The 2-D experiment: scores against closed forms, and methods where they have to land."""

import json

import pytest
import torch

from tests.cli.conftest import run
from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.denoisers.mixture import GaussianMixture
from vml_fast.evaluation.studies import toy
from vml_fast.evaluation.studies.flow import FlowEnd
from vml_fast.evaluation.studies.samples import score
from vml_fast.evaluation.studies.toy_figure import toy_figure

F64 = torch.float64


def gaussian():
    return GaussianMixture(torch.tensor([[0.3, -0.2]], dtype=F64), 0.2**2)


def two_modes():
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=F64)
    return GaussianMixture(means, 0.1**2, torch.tensor([0.75, 0.25], dtype=F64))


def test_exact_samples_of_a_gaussian_have_the_scores_of_the_closed_form():
    """The gap is a chi-squared of two degrees over 2: its mean is 1 nat."""
    posterior = gaussian()
    points = posterior.sample(20_000, generator=torch.Generator().manual_seed(8)).flatten(1)
    found = score(points, posterior)
    assert found.top_gap == pytest.approx(1.0, abs=0.04)
    assert found.mode_gap == found.top_gap
    assert found.mode_distance == pytest.approx(0.2 * (torch.pi / 2) ** 0.5, rel=0.03)
    assert found.coverage == 1.0
    assert found.spread == pytest.approx(1.0, abs=0.04)
    assert found.mean_error < 0.02


def test_points_at_a_mode_have_no_gap_and_no_spread():
    posterior = two_modes()
    points = posterior.modes().flatten(1)[:1].expand(50, 2)
    found = score(points, posterior)
    assert (found.mode_distance, found.mode_gap, found.spread) == (0.0, 0.0, 0.0)
    assert found.coverage == pytest.approx(0.75, abs=0.02)


def test_coverage_is_one_minus_the_total_variation():
    """Half of the points at each mode, where the posterior has 3/4 and 1/4."""
    posterior = two_modes()
    points = posterior.modes().flatten(1).repeat_interleave(20, dim=0)
    assert score(points, posterior).coverage == pytest.approx(0.75, abs=0.02)
    assert score(points, posterior).top_gap == pytest.approx(torch.tensor(3.0).log().item() / 2)


def test_the_flow_of_a_gaussian_is_its_closed_form():
    prior = GaussianMixtureDenoiser(
        torch.tensor([[0.5, -0.5]], dtype=F64), 0.3**2, image_shape=toy.SHAPE
    )
    x = torch.randn(4, *toy.SHAPE, dtype=F64)
    sigma = torch.tensor([0.002, 0.1, 1.0, 20.0], dtype=F64)
    scale = ((0.3**2 + prior.sigma_min**2) / (0.3**2 + sigma**2)).sqrt().reshape(-1, 1, 1, 1)
    mean = torch.tensor([0.5, -0.5], dtype=F64)
    expected = mean + scale * (x - mean)
    torch.testing.assert_close(FlowEnd(prior, steps=200)(x, sigma), expected, atol=1e-3, rtol=0)
    assert torch.equal(FlowEnd(prior)(x[:1], sigma[:1]), x[:1])


def test_vml_map_lands_on_modes_and_a_sampler_does_not():
    problem = toy.make_toy()
    found = toy.scores(
        problem,
        {name: toy.draw(problem, name, 24) for name in ("vml-map", "vml-map-tau", toy.EXACT)},
    )
    assert found["vml-map"].mode_gap < 0.1
    assert found["vml-map-tau"].mode_gap < 0.5
    assert found[toy.EXACT].mode_gap > 0.5


def test_the_figure_has_a_panel_per_method():
    problem = toy.make_toy()
    samples = toy.draw_all(problem, 8, methods=["ddrm"])
    figure = toy_figure(problem, samples, toy.scores(problem, samples))
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == [toy.EXACT, "ddrm"]


def test_the_command_writes_figure_table_and_record(monkeypatch, tmp_path):
    monkeypatch.setattr(toy, "METHODS", {"ddrm": {"steps": 5}})
    result = run("evaluate", "toy", "--samples", 10, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "coverage" in result.output
    record = json.loads((tmp_path / "out" / "toy.json").read_text())
    assert set(record["scores"]) == {toy.EXACT, "ddrm"}
    assert "| ddrm |" in (tmp_path / "out" / "toy.md").read_text()
    assert (tmp_path / "out" / "toy.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "arguments",
    [("--samples", "1"), ("--noise-std", "0"), ("--seed", "-1"), ("--noise-std", "nan")],
)
def test_bad_options(arguments, tmp_path):
    result = run("evaluate", "toy", *arguments, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert arguments[0] in result.output
    assert not (tmp_path / "out").exists()
