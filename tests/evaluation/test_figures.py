"""Figures show the pixels and numbers they were given."""

import numpy as np
import pytest
import torch
from PIL import Image

from vml_fast.evaluation import figures

pytest.importorskip("matplotlib")


def _images_of(figure):
    return [image.get_array() for axes in figure.axes for image in axes.get_images()]


def test_comparison_shows_measurement_restoration_truth_and_error():
    truth = torch.full((3, 6, 8), 0.5)
    restored = torch.stack([truth + 0.25, truth - 0.1])
    figure = figures.comparison(torch.zeros(1, 3, 4), restored, truth, captions=["a", "b"])
    shown = _images_of(figure)
    assert [array.shape for array in shown] == [(3, 4, 3), (6, 8, 3), (6, 8, 3), (6, 8)] * 2
    np.testing.assert_allclose(shown[3], 0.25, atol=1e-6)
    np.testing.assert_allclose(shown[7], 0.1, atol=1e-6)
    assert int(shown[1][0, 0, 0]) == round((0.75 + 1) * 127.5)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["measurement", "restoration", "truth", "absolute error", "", "", "", ""]
    assert [figure.axes[k].get_xlabel() for k in (1, 5)] == ["a", "b"]


def test_comparison_without_truth_has_two_columns():
    figure = figures.comparison(torch.zeros(3, 4, 4), torch.zeros(1, 3, 8, 8))
    assert [axes.get_title() for axes in figure.axes] == ["measurement", "restoration"]


def test_the_error_is_of_the_clipped_picture():
    figure = figures.comparison(
        torch.zeros(3, 4, 4), torch.full((1, 3, 4, 4), 1.7), torch.ones(3, 4, 4)
    )
    np.testing.assert_allclose(_images_of(figure)[3], 0.0, atol=1e-6)


def test_grid_leaves_cells_empty():
    panel = figures.Panel(torch.zeros(3, 4, 4), "a")
    figure = figures.image_grid(
        [[panel, panel], [None, panel], [panel]], row_titles=["x", "y", "z"]
    )
    assert len(figure.axes) == 6
    assert len(_images_of(figure)) == 4
    assert [figure.axes[k].get_ylabel() for k in (0, 2, 4)] == ["x", "y", "z"]


def test_noise_level_figure_draws_every_residual():
    sigmas = [80.0, 5.0, 0.3, 0.002]
    residuals = torch.tensor([[1.0, 2.0], [0.5, 0.7], [0.1, 0.2], [0.0, 0.05]])
    denoised = [torch.full((3, 4, 4), value) for value in (-1.0, -0.5, 0.5, 1.0)]
    figure = figures.noise_level_figure(sigmas, residuals, denoised, noise_std=0.05)
    *thumbnails, axes = figure.axes
    assert [thumbnail.get_xlabel() for thumbnail in thumbnails] == [
        "σ = 80", "σ = 5", "σ = 0.3", "σ = 0.002",
    ]  # fmt: skip
    assert [int(array[0, 0, 0]) for array in _images_of(figure)] == [0, 64, 191, 255]
    first, second = axes.lines[:2]
    np.testing.assert_allclose(first.get_ydata(), [1.0, 0.5, 0.1, 1e-8])
    np.testing.assert_allclose(second.get_ydata(), [2.0, 0.7, 0.2, 0.05])
    np.testing.assert_allclose(axes.lines[2].get_ydata(), 0.05)
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.xaxis_inverted()


@pytest.mark.parametrize("levels", [1, 2, 30])
def test_any_number_of_levels(tmp_path, levels):
    sigmas = np.geomspace(80, 0.002, levels).tolist()
    denoised = [torch.zeros(1, 4, 6)] * levels
    figure = figures.noise_level_figure(sigmas, torch.ones(levels, 1), denoised)
    figures.write_figure(tmp_path / "x.png", figure)
    picture = np.asarray(Image.open(tmp_path / "x.png").convert("L"))
    assert picture.std() > 5
    assert len(figure.axes) == min(levels, 8) + 1
