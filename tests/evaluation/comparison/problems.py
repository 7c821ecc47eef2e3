"""A small comparison: an exact prior on 12×12 images, a data set drawn from it, and its cells."""

import torch

from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.evaluation.comparison.cell_runner import CellRunner
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.comparison.dataset import DataSet

SHAPE = (3, 12, 12)
PROVENANCE = {"prior": "mixture", "seed": 0}


def mixture():
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(4, 3, 3, 3, generator=generator) * 1.6 - 0.8
    means = torch.nn.functional.interpolate(coarse, SHAPE[1:], mode="bilinear")
    return GaussianMixtureDenoiser(means, 0.05**2)


def data(prior, count=4):
    images = prior.mixture.sample(count, generator=torch.Generator().manual_seed(5)).float()
    names = [f"image-{i}" for i in range(count)]
    return DataSet("mixture", names, images.clamp(-1, 1), torch.arange(count))


def runner(count=4, **options):
    prior = mixture()
    return CellRunner(prior, data(prior, count), **options)


def cell(task="half", method="vml-map-pre", noise_std=0.0, budget=20, images=4, **settings):
    settings = settings or {"steps": 4, "inner_steps": 2}
    return Cell(task, method, noise_std, budget, images, settings)


def cells():
    """Two tasks, two methods and an interpolation."""
    found = [Cell(task, "bicubic", 0.0, 0, 4) for task in ("half", "sr4")]
    for task in ("half", "sr4"):
        found.append(cell(task))
        found.append(cell(task, "ddrm", steps=5))
    return found
