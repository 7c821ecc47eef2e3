"""The exact consistency function of a mixture, by its probability-flow ODE."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vml_fast.denoisers.base import per_image
from vml_fast.denoisers.mixture import GaussianMixtureDenoiser


class FlowEnd:
    """C(x, sigma): the end at `sigma_min` of dx/dsigma = (x - D(x, sigma)) / sigma from x.

    Heun's method on levels equally spaced in ln(sigma); differentiable. What a consistency model
    learns, for priors whose denoiser is exact.

    Args:
        denoiser: D.
        steps: Heun steps from sigma_max to sigma_min; a lower sigma takes its share of them.
    """

    def __init__(self, denoiser: GaussianMixtureDenoiser, steps: int = 24) -> None:
        self.denoiser = denoiser
        self.steps = steps
        self.image_shape = denoiser.image_shape
        self.sigma_min, self.sigma_max = denoiser.sigma_min, denoiser.sigma_max

    def __call__(self, x: Tensor, sigma: Tensor, **condition: Any) -> Tensor:
        """The image (B, C, H, W) that the ODE from (x, sigma) ends in."""
        ratio = (self.sigma_min / sigma).clamp_max(1.0)
        for i in range(self.steps):
            now = sigma * ratio ** (i / self.steps)
            following = sigma * ratio ** ((i + 1) / self.steps)
            slope = (x - self.denoiser(x, now)) / per_image(now, x)
            change = per_image(following - now, x)
            ahead = x + change * slope
            second = (ahead - self.denoiser(ahead, following)) / per_image(following, x)
            x = x + change * (slope + second) / 2.0
        return x
