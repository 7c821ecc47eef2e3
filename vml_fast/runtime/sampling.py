"""What samplers are made of: D, products with its Jacobian, and noise; each call is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.ops import resolve
from vml_fast.runtime import jacobian
from vml_fast.runtime.network import check_output
from vml_fast.runtime.noise import Noise
from vml_fast.runtime.problem import column

Function = Callable[..., Tensor]
Product = Callable[[Tensor], Tensor]


class Sampling:
    """The calls of one run.

    Noise levels are float64 scalars or (B,), on any device.

    Args:
        noise: the random numbers of the run.
        condition: keywords of the denoiser.
        backend: of the op that adds noise.

    Attributes:
        forwards: denoiser calls so far.
        products: products with its Jacobian so far.
    """

    def __init__(self, noise: Noise, *, condition: dict[str, Any], backend: str) -> None:
        self.noise = noise
        self.condition = condition
        self.forwards = 0
        self.products = 0
        self._transition = resolve("transition", backend, noise.seed.device, noise.dtype)

    def denoise(self, function: Function, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x, sigma) in the dtype of x; `function` is a denoiser or a consistency model."""
        self.forwards += 1
        with trace.range("denoiser"), torch.no_grad():
            return self._at(function, x, sigma)(x)

    def linearize(self, function: Function, x: Tensor, sigma: Tensor) -> tuple[Tensor, Product]:
        """D(x, sigma) and the function v -> J^T v, which can be called once."""
        self.forwards += 1
        with trace.range("denoiser"):
            denoised, transposed = jacobian.vjp(self._at(function, x, sigma), x)

        def product(v: Tensor) -> Tensor:
            self.products += 1
            with trace.range("vjp"):
                return transposed(v)

        return denoised, product

    def diffuse(self, mean: Tensor, std: Tensor, draw: int) -> Tensor:
        """A sample of N(mean, std^2 I); `draw` counts the draws of the run, 0 is the start."""
        with trace.range("transition"):
            counter = torch.tensor([draw], device=mean.device)
            return self._transition(
                mean, self._levels(std, mean), self.noise.seed, self.noise.sample, counter
            )

    def _at(self, function: Function, x: Tensor, sigma: Tensor) -> Callable[[Tensor], Tensor]:
        levels = self._levels(sigma, x)

        def at(u: Tensor) -> Tensor:
            return check_output(function(u, levels, **self.condition), function, u).to(u.dtype)

        return at

    def _levels(self, sigma: Tensor, x: Tensor) -> Tensor:
        return sigma.to(x).expand(len(x)).contiguous()


def ddim(
    x: Tensor, denoised: Tensor, sigma: Tensor, following: Tensor, eta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The mean and spread of DDIM's step (Song et al. 2021, arXiv 2010.02502, Eq. 12 and 16).

    In variance-exploding coordinates, where eta = 1 is ancestral sampling:

        x <- D + k (x - D) + c n
        c^2 = eta^2 s^2 (1 - s^2 / sigma^2),   k^2 = (s^2 - c^2) / sigma^2

    Args:
        x: (B, C, H, W) the state.
        denoised: D(x, sigma).
        sigma: the noise level, a float64 scalar above 0.
        following: s, the next one, at least 0.
        eta: 0 (deterministic) to 1.

    Returns:
        The mean D + k (x - D), and the scalars k and c.
    """
    spread = eta * following * (1.0 - (following / sigma) ** 2).clamp_min(0.0).sqrt()
    kept = (following**2 - spread**2).clamp_min(0.0).sqrt() / sigma
    return torch.addcmul(denoised, column(kept, x), x - denoised), kept, spread
