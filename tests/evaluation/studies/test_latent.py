"""The study of latent space, small: what it claims has to be so."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("matplotlib")

from tests.cli.conftest import run
from vml_fast.cli import priors as priors_of_options
from vml_fast.denoisers import Autoencoder, EDMDenoiser, LatentDenoiser
from vml_fast.evaluation.studies import latent
from vml_fast.evaluation.studies.latent_figure import latent_figure
from vml_fast.solvers import VMLMAP


class Halves:
    """An autoencoder of quarters of the pixels: 4×4 means, and their repetition."""

    def encode(self, x):
        return torch.nn.functional.avg_pool2d(x, 4)

    def decode(self, z):
        return torch.nn.functional.interpolate(z, scale_factor=4)


def white(u, c_noise):
    """A network F whose denoiser shrinks towards zero, as for white noise."""
    return torch.zeros_like(u)


def priors():
    autoencoder = Autoencoder(Halves(), (3, 64, 64))
    small = LatentDenoiser(EDMDenoiser(white, (3, 16, 16)), autoencoder, autoencoder_std=0.2)
    return small, EDMDenoiser(white, (3, 64, 64))


def test_every_form_is_measured_plain_and_projected(monkeypatch):
    found, shown = latent.compare(*priors(), ("sr4",), count=2, steps=3, inner_steps=1)
    by_name = {outcome.name: outcome for outcome in found}
    assert len(found) == 2 + 2 * len(latent.FORMS)
    budget = by_name[latent.PIXELS].passes
    assert budget == 3 * (2 * 1 + 1)
    for form in latent.FORMS:
        plain, projected = by_name[form], by_name[f"{form}, projected"]
        assert plain.passes == projected.passes == budget
        assert plain.autoencoder_passes > 0 and len(plain.psnr) == 2
        assert projected.mean("residual") < 1e-5
    # of this pair the 4×4 means are all that y tells: the ceiling is met where y is
    assert by_name["Gauss-Newton"].mean("residual") < 1e-4
    assert by_name["Gauss-Newton"].mean("psnr") == pytest.approx(
        by_name[latent.CEILING].mean("psnr"), abs=0.01
    )
    assert shown[0].pictures.keys() == {"truth", "H⁺ y", *by_name}
    figure = latent_figure(found, shown, "noiseless")
    texts = {text.get_text() for axes in figure.axes for text in axes.get_yticklabels()}
    assert {outcome.name for outcome in found} <= texts
    (legend,) = figure.legends  # below the charts, over no data
    assert [text.get_text() for text in legend.get_texts()] == list(latent.TASKS)
    assert all(axes.get_legend() is None for axes in figure.axes)


def test_the_command_writes_a_figure_a_table_and_a_record(tmp_path, monkeypatch):
    small, pixels = priors()
    known = {"small": small, "emoji64": pixels}
    monkeypatch.setattr(priors_of_options, "load_denoiser", lambda name, **_: known[name])
    monkeypatch.setattr(latent, "TASKS", ("sr4",))
    monkeypatch.setattr(latent.compare, "__defaults__", (("sr4",),))
    monkeypatch.setitem(latent.compare.__kwdefaults__, "steps", 2)
    args = ("--prior", "small", "--images", "2", "--noise-std", "0.05", "-o", str(tmp_path))
    result = run("evaluate", "latent", *args)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "latent.json").read_text())
    assert record["noise_std"] == 0.05
    assert len(record["outcomes"]) == 2 + 2 * len(latent.FORMS)
    assert (tmp_path / "latent.png").stat().st_size > 10_000
    assert "Gauss-Newton, σ_e/4, projected" in (tmp_path / "latent.md").read_text()


def test_with_noise_the_correction_is_the_solvers_own():
    small, _ = priors()
    problem = latent._problem("sr4", (3, 64, 64), latent.pictures(2)[1], 0.05)
    options = {"noise_std": 0.05, "steps": 2, "inner_steps": 1, "preconditioner": "reencode"}
    plain, own = (
        VMLMAP(small, problem.operator, **options, final_projection=chosen).solve(problem.y).image
        for chosen in (False, True)
    )
    assert not torch.equal(plain, own)
    torch.testing.assert_close(problem.projected(plain, small.autoencoder_std), own)


def test_the_gap_to_pixel_space_is_paired():
    def outcome(method, values):
        return latent.Outcome("half", method, False, values, values, [])

    found = [outcome(latent.PIXELS, [10.0, 30.0]), outcome("plain gradient", [9.0, 29.0])]
    assert latent.beside_pixels(found, found[1], "psnr") == (-1.0, -1.0, -1.0)
    assert not latent.beside_pixels(found, found[1], "st_lpips").has_interval


def test_other_priors_get_one_sentence(tmp_path):
    for prior, words in (
        ("emoji64", "--prior emoji64 is a prior of images"),
        ("none", "--prior none"),
    ):
        result = run("evaluate", "latent", "--prior", prior, "-o", str(tmp_path / "out"))
        assert result.exit_code == 2 and words in result.stderr
        assert not (tmp_path / "out").exists()
