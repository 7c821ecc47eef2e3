"""The 2-D experiment: samples of every method over the exact posterior of a Gaussian mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.denoisers.mixture import GaussianMixture
from vml_fast.evaluation.figures import INK, MUTED, new_figure
from vml_fast.evaluation.studies.flow import FlowEnd
from vml_fast.evaluation.studies.samples import Score, score
from vml_fast.operators import MatrixOperator
from vml_fast.solvers import restore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHAPE = (1, 1, 2)
EXACT = "exact samples"
LIMIT = 2.2
_NK = {"steps": 20, "inner_steps": 50}

METHODS: dict[str, dict[str, Any]] = {
    "vml-map": _NK,
    "vml-map-pre": _NK,
    "vml-map-tau": _NK,
    "vml-map-tau-pre": _NK,
    "map-ga-np": _NK,
    "map-ga-d-np": _NK,
    "ddrm": {"steps": 20},
    "pigdm": {"steps": 100},
    "daps": {"steps": 200, "ode_steps": 5, "step_size": 2e-3, "likelihood_std": None},
    "dps": {"steps": 1000, "zeta": 0.02},
}
"""Settings: the papers', but where theirs are for images of 256×256 pixels (DAPS's Langevin step,
DPS's zeta). MAP-GA's prior plays no part with noise, so its two forms with one are left out."""


@dataclass(frozen=True)
class Toy:
    """One measurement of one mixture.

    Attributes:
        denoiser: the exact denoiser of the prior.
        operator: H, one row.
        y: (1, 1).
        noise_std: sigma_y.
    """

    denoiser: GaussianMixtureDenoiser
    operator: MatrixOperator
    y: Tensor
    noise_std: float

    @property
    def posterior(self) -> GaussianMixture:
        """The exact p(x0 | y)."""
        return self.denoiser.posterior(self.operator, self.y, self.noise_std)


def make_toy(noise_std: float = 0.3) -> Toy:
    """Six components of different shapes, seen by one noisy projection that leaves several open.

    Args:
        noise_std: sigma_y, above 0.
    """
    means = torch.tensor(
        [[-1.1, 0.9], [-0.9, -0.9], [0.0, 1.2], [0.9, 0.25], [0.6, -1.2], [-0.1, -0.1]]
    )
    angles = torch.tensor([0.6, -0.5, 0.1, 1.2, 0.2, 0.8])
    stds = torch.tensor(
        [[0.30, 0.12], [0.26, 0.14], [0.32, 0.14], [0.28, 0.12], [0.30, 0.13], [0.16, 0.12]]
    )
    axes = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], dim=1)
    axes = axes.reshape(-1, 2, 2)
    covariances = axes @ torch.diag_embed(stds**2) @ axes.mT
    weights = torch.tensor([0.2, 0.2, 0.15, 0.2, 0.15, 0.1])
    denoiser = GaussianMixtureDenoiser(
        means.double(), covariances.double(), weights.double(), image_shape=SHAPE
    )
    operator = MatrixOperator(torch.tensor([[0.9, 0.436]]).double(), SHAPE)
    return Toy(denoiser, operator, torch.tensor([[0.1]]).double(), noise_std)


def draw(toy: Toy, method: str, count: int, seed: int = 0) -> Tensor:
    """Samples of a method, (count, 2): as many restorations of the one measurement.

    Args:
        toy: the problem.
        method: a key of `METHODS`, or `EXACT`.
        count: how many.
        seed: of all random numbers.
    """
    if method == EXACT:
        generator = torch.Generator().manual_seed(seed + 1)
        return toy.posterior.sample(count, generator=generator).flatten(1)
    settings = dict(METHODS[method])
    if method == "map-ga-np":
        settings["consistency"] = FlowEnd(toy.denoiser, steps=10)
    result = restore(
        toy.y.expand(count, 1).contiguous(),
        toy.operator,
        toy.denoiser,
        method=method,
        noise_std=toy.noise_std,
        seed=seed,
        **settings,
    )
    return result.image.flatten(1)


def draw_all(
    toy: Toy, count: int, seed: int = 0, methods: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Exact samples, and samples of every method."""
    chosen = METHODS if methods is None else methods
    return {name: draw(toy, name, count, seed) for name in (EXACT, *chosen)}


def scores(toy: Toy, samples: Mapping[str, Tensor]) -> dict[str, Score]:
    """How each method's samples lie to the posterior."""
    posterior = toy.posterior
    return {name: score(points, posterior) for name, points in samples.items()}


def toy_figure(toy: Toy, samples: Mapping[str, Tensor], found: Mapping[str, Score]) -> Figure:
    """Each method's samples over the posterior's density, its modes marked.

    Args:
        toy: the problem.
        samples: (B, 2) by method.
        found: their scores.
    """
    columns = 4
    lines = math.ceil(len(samples) / columns)
    title = (
        "Samples (orange, the larger the more in one place) over the exact posterior density "
        "p(x | y) (blue); red circles: its modes; dashed: H x = y"
    )
    figure = new_figure(columns * 2.6, lines * 2.9 + 0.3, title)
    grid = figure.subplots(lines, columns, squeeze=False)
    density = _density(toy.posterior)
    for axes, (name, points) in zip(grid.ravel(), samples.items(), strict=False):
        _draw(axes, toy, density, points)
        one = found[name]
        axes.set_title(name, fontsize=9, color=INK, pad=3, loc="left")
        axes.set_title(f"coverage {one.coverage:.2f}", fontsize=7, color=MUTED, loc="right", pad=3)
        caption = f"{one.mode_distance:.2f} to nearest mode, {one.mode_gap:.2f} nat below it"
        axes.set_xlabel(caption, fontsize=7, color=MUTED, labelpad=3)
    for axes in grid.ravel()[len(samples) :]:
        axes.set_visible(False)
    return figure


def _density(posterior: GaussianMixture, size: int = 160) -> Tensor:
    line = torch.linspace(-LIMIT, LIMIT, size, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)
    return posterior.log_prob(points).exp().reshape(size, size)


def _draw(axes: Axes, toy: Toy, density: Tensor, points: Tensor) -> None:
    line = torch.linspace(-LIMIT, LIMIT, density.shape[0])
    top = float(density.max())
    levels = [top * share for share in (0.003, 0.02, 0.08, 0.2, 0.4, 0.6, 0.8, 1.0)]
    axes.contourf(line, line, density, levels=levels, cmap="Blues")
    (a, b), y = toy.operator.forward(torch.eye(2).double().reshape(2, *SHAPE)), float(toy.y)
    ends = torch.tensor([-LIMIT, LIMIT])
    axes.plot(ends, (y - float(a) * ends) / float(b), "--", color=MUTED, lw=0.7)
    places, counts = _places(points)
    axes.scatter(
        places[:, 0], places[:, 1], s=2.5 * counts, color="#ea580c", ec="white", lw=0.3, zorder=3
    )
    modes = toy.posterior.modes().flatten(1)
    axes.plot(modes[:, 0], modes[:, 1], "o", color="#b91c1c", ms=9, mew=1.1, mfc="none", zorder=4)
    axes.set_xlim(-LIMIT, LIMIT)
    axes.set_ylim(-LIMIT, LIMIT)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])


def _places(points: Tensor, size: float = 0.04) -> tuple[Tensor, Tensor]:
    """Where samples are, on a grid of squares, and how many: those on a mode hide each other."""
    squares, counts = (points / size).round().unique(dim=0, return_counts=True)
    return squares * size, counts
