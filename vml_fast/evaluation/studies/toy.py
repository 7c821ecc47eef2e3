"""The 2-D experiment: samples of every method over the exact posterior of a Gaussian mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.denoisers.mixture import GaussianMixture
from vml_fast.evaluation.studies.flow import FlowEnd
from vml_fast.evaluation.studies.samples import Score, score
from vml_fast.operators import MatrixOperator
from vml_fast.solvers import restore

SHAPE = (1, 1, 2)
EXACT = "exact samples"
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
DPS's zeta), and DAPS's beta_y, which is sigma_y here, for the posterior of the model. MAP-GA's
prior plays no part with noise, so its two forms with one are left out."""


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
