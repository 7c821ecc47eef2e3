"""The bracket of MAP-GA (arXiv 2407.20784): the gradient of its likelihood, and that of its prior.

With x = C(z, sigma_t), an inner step is z <- z + lambda J^T g,

    g = H^T ( sigma_y^2 I + sigma_eps^2 H H^T )^-1 ( y - H x )
        + ( D(x, sigma_eps) - x ) / sigma_eps^2

The first term is a bracket like any other, with coefficients of its own; the second takes a
denoiser call.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.denoisers.base import per_image
from vml_fast.preconditioners import Coefficients
from vml_fast.runtime.bracket import Bracket, GeneralBracket
from vml_fast.runtime.fused import make_bracket
from vml_fast.runtime.inverse import regularized_inverse
from vml_fast.runtime.network import Network, scalings_at
from vml_fast.runtime.problem import Level, Problem, column


@dataclass(frozen=True, kw_only=True)
class Ascent(Problem):
    """A problem whose inner steps are those of MAP-GA.

    Attributes:
        sigma_eps: noise level of the images.
        rate: (B,) float64 lambda, without the step size.
        prior: (B,) 1 where a sample's g holds the prior, else 0; None where no sample's does.
        condition: keywords of the denoiser.
    """

    sigma_eps: float
    rate: Tensor
    prior: Tensor | None
    condition: Mapping[str, Any]

    @property
    def has_prior_term(self) -> bool:
        """False: the prior is not one of the coefficients."""
        return False

    @property
    def structure(self) -> Hashable:
        """As of a `Problem`; noise levels are numbers."""
        return (super().structure, self.sigma_eps, self.prior is None)

    @property
    def gain(self) -> Tensor:
        """(B,) lambda / sigma_eps^2."""
        return self.rate / self.sigma_eps**2

    @property
    def ratio(self) -> Tensor:
        """(B,) sigma_y^2 / sigma_eps^2."""
        return self.noise_std**2 / self.sigma_eps**2

    def coefficients(self, s: Tensor, kept: Tensor, norm: Tensor, sigma_t: Tensor) -> Coefficients:
        """alpha = lambda s / (sigma_y^2 + sigma_eps^2 s^2) and beta = 0, the same at all levels."""
        gain, ratio = (t.to(s).reshape(-1, *(1,) * (s.ndim - 1)) for t in (self.gain, self.ratio))
        alpha = torch.where(kept, gain * s / torch.where(kept, s**2 + ratio, 1.0), 0.0)
        return Coefficients(alpha, torch.zeros_like(alpha))


class IterativeBracket(GeneralBracket):
    """The likelihood's gradient where H has no SVD, by conjugate gradients."""

    problem: Ascent

    def load(self, problem: Problem) -> None:
        """Take the measurement and its noise."""
        super().load(problem)
        self.inverse = regularized_inverse(problem.operator, self.problem.ratio, self.y)
        self.gain = column(self.problem.gain, self.y)

    def direction(self, x: Tensor, denoised: Tensor) -> Tensor:
        """V from the denoised image."""
        error = self.y - self.problem.operator.forward(denoised)
        return column(self.scale, x) * self.inverse(self.gain * error)


class PriorBracket(GeneralBracket):
    """A likelihood's bracket and the prior's gradient.

    Args:
        likelihood: the bracket of the same problem.
        network: of D; it runs at sigma_eps.
    """

    problem: Ascent

    def __init__(self, likelihood: Bracket, network: Network) -> None:
        self.likelihood = likelihood
        self.networks = (network,)
        super().__init__(likelihood.problem)

    def load(self, problem: Problem) -> None:
        """Take a problem, and what D computes with at sigma_eps."""
        super().load(problem)
        if problem is not self.likelihood.problem:
            self.likelihood.load(problem)
        (network,), eps, y = self.networks, self.problem.sigma_eps, self.y
        levels = torch.full((len(y),), eps, dtype=torch.float64, device=y.device)
        skip, out, c_in, noise = (c.to(y) for c in scalings_at(network.denoiser, levels))
        network.load(self.problem.condition)
        network.set_level(noise, c_in, eps, math.prod(self.problem.operator.image_shape))
        self.scalings = self.memory.write("scalings", torch.stack((skip, out, c_in)))

    def set_level(self, level: Level) -> None:
        """Compute what depends on the noise level, and on who is active."""
        super().set_level(level)
        one = torch.ones_like(self.scale)
        plain = level.scalings._replace(skip=0 * one, out=one)
        self.likelihood.set_level(level._replace(scalings=plain))  # it is given C(z), not F
        assert self.problem.prior is not None
        weight = self.scale * (self.problem.gain * self.problem.prior).to(self.scale)
        self.weight = self.memory.write("weight", weight.to(self.y.dtype))

    def direction(self, x: Tensor, denoised: Tensor) -> Tensor:
        """V from the state z and its image C(z)."""
        v, _ = self.likelihood(denoised, x)
        toward = self.denoise_again(denoised) - denoised
        return torch.addcmul(v, per_image(self.weight, v), toward)

    def denoise_again(self, image: Tensor) -> Tensor:
        """D(image, sigma_eps)."""
        (network,) = self.networks
        skip, out, c_in = (per_image(c, image) for c in self.scalings)
        with trace.range("denoiser"), torch.no_grad():
            output = network(network.as_input(c_in * image))
        return torch.addcmul(skip * image, out, output.to(image.dtype))


def make_ascent_bracket(problem: Ascent, prior: Network | None) -> Bracket:
    """The bracket of MAP-GA's inner step.

    Args:
        problem: H, y and the weights of the step.
        prior: the network of D; None where no sample's g holds the prior.
    """
    has_svd = problem.operator.has_svd
    likelihood = make_bracket(problem) if has_svd else IterativeBracket(problem)
    return likelihood if prior is None else PriorBracket(likelihood, prior)
