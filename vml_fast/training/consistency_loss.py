"""Consistency distillation (Song et al. 2023, arXiv 2303.01469, Algorithm 2).

The student C learns to give the same image for two points of one trajectory of the teacher's
probability-flow ODE: ``C(x_sigma; sigma)`` and ``C(x_r; r)``, r a step below sigma. At the end of
the trajectory ``C(x; sigma_min) = x`` by its scalings, and each level passes that on to the next.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vml_fast.denoisers.base import Scalings, per_image
from vml_fast.denoisers.consistency import consistency_scalings
from vml_fast.denoisers.edm import edm_scalings
from vml_fast.training.loss import Denoise, PreconditionedNetwork
from vml_fast.training.sampling import heun_step

FEWEST_LEVELS = 10
"""A run begins with steps this long: few of them pass the end of the ODE on to all levels soon."""
HUBER = 0.00054
"""c of the pseudo-Huber distance per root of the dimension (Song & Dhariwal 2023, arXiv
2310.14189, Eq. 8 and what follows it)."""


class ConsistencyNetwork(PreconditionedNetwork):
    """C(x; sigma), for training: weights are not frozen.

    Args:
        network: F; see `PreconditionedNetwork`.
        sigma_data: likewise.
        noise_scale: likewise.
        sigma_min: the level at which C is the identity.
    """

    def __init__(
        self, network: nn.Module, sigma_data: float, noise_scale: float, sigma_min: float
    ) -> None:
        super().__init__(network, sigma_data, noise_scale)
        self.sigma_min = sigma_min

    def scalings(self, sigma: Tensor) -> Scalings:
        """The coefficients at levels ``sigma`` ``(B,)``."""
        return consistency_scalings(sigma, self.sigma_data, self.sigma_min, self.noise_scale)


def level_below(
    sigma: Tensor, levels: float, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> Tensor:
    """The noise level one step below each of ``sigma`` ``(B,)``, at least ``sigma_min``.

    A step is that of EDM's ``levels`` levels from ``sigma_max`` to ``sigma_min``, which are equally
    spaced in ``sigma^(1/rho)`` (Karras et al. 2022, Eq. 5).
    """
    step = (sigma_max ** (1 / rho) - sigma_min ** (1 / rho)) / (levels - 1)
    return (sigma ** (1 / rho) - step).clamp_min(sigma_min ** (1 / rho)) ** rho


def pseudo_huber(error: Tensor) -> Tensor:
    """``sqrt(|e|²/n + c²) - c`` of each sample, n its dimension, c = `HUBER`; ``(B,)``."""
    return (error.flatten(1).square().mean(1) + HUBER**2).sqrt() - HUBER


def consistency_loss(
    student: Denoise,
    target: Denoise,
    teacher: Denoise,
    images: Tensor,
    sigma: Tensor,
    below: Tensor,
    noise: Tensor,
    sigma_data: float,
) -> Tensor:
    """Distance of ``C(x; sigma)`` to ``C⁻(x_r; r)``, x_r by one Heun step of the teacher's ODE.

    In units of the network's output, error over EDM's c_out, so that all levels count alike.

    Args:
        student: C.
        target: C⁻, with averaged weights; no gradient goes through it.
        teacher: D.
        images: y, ``(B, C, H, W)``; x = y + sigma n.
        sigma: ``(B,)``.
        below: r, ``(B,)``, at most ``sigma``.
        noise: n, standard normal, of the shape of ``images``.
        sigma_data: as in the preconditioning.

    Returns:
        ``(B,)``.
    """
    x = images + per_image(sigma, noise) * noise
    with torch.no_grad():
        lower = heun_step(teacher, x, sigma, below)
        wanted = target(lower, below)
    return pseudo_huber(
        (student(x, sigma) - wanted) / per_image(edm_scalings(sigma, sigma_data).out, x)
    )


@torch.no_grad()
def follow(target: nn.Module, student: nn.Module, decay: float) -> None:
    """Move the target's weights towards the student's: w⁻ ← decay w⁻ + (1 - decay) w."""
    weights: Any = list(target.parameters())
    torch._foreach_lerp_(weights, list(student.parameters()), 1 - decay)
