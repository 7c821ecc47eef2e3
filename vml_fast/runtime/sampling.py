"""What samplers are made of: D, products with its Jacobian, and noise; each call is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.ops import resolve
from vml_fast.runtime.choose import Wish
from vml_fast.runtime.network import Network, scalings_at
from vml_fast.runtime.noise import Noise
from vml_fast.runtime.problem import column
from vml_fast.runtime.runners import make_network

Function = Callable[..., Tensor]
Product = Callable[[Tensor], Tensor]


class _AtLevel(NamedTuple):
    """D = c_skip x + c_out F(c_in x) at one noise level; the coefficients are (B, 1, 1, 1)."""

    network: Network
    skip: Tensor
    out: Tensor
    input_scale: Tensor

    def input(self, x: Tensor) -> Tensor:
        """The network's input u."""
        return self.network.as_input(self.input_scale * x)

    def denoised(self, x: Tensor, output: Tensor) -> Tensor:
        """D from F."""
        return torch.addcmul(self.skip * x, self.out, output.to(x.dtype))

    def product(self, v: Tensor, gradient: Tensor) -> Tensor:
        """J^T v from g = (dF/du)^T (c_out v): the skip path is taken analytically."""
        return torch.addcmul(self.skip * v, self.input_scale, gradient.to(v.dtype))


class Sampling:
    """The calls of one run.

    Noise levels are float64 scalars or (B,), on any device.

    Args:
        noise: the random numbers of the run.
        condition: keywords of the denoiser.
        backend: of the op that adds noise.
        compile: whether networks are compiled: True, False or "auto".
        calls: about how many a network will get, by which "auto" decides.

    Attributes:
        forwards: denoiser calls so far.
        products: products with its Jacobian so far.
        announce: is told what is being prepared, and "" when that is done.
    """

    def __init__(
        self,
        noise: Noise,
        *,
        condition: dict[str, Any],
        backend: str,
        compile: Wish = False,
        calls: int = 0,
    ) -> None:
        self.noise = noise
        self.condition = condition
        self.compile = compile
        self.calls = calls
        self.forwards = 0
        self.products = 0
        self.announce: Callable[[str], None] = lambda what: None
        self._networks: dict[int, Network] = {}
        self._transition = resolve("transition", backend, noise.seed.device, noise.dtype)

    def denoise(self, function: Function, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x, sigma) in the dtype of x; `function` is a denoiser or a consistency model."""
        at = self._at(function, x, sigma)
        self.forwards += 1
        with trace.range("denoiser"), torch.no_grad():
            return at.denoised(x, at.network(at.input(x)))

    def linearize(self, function: Function, x: Tensor, sigma: Tensor) -> tuple[Tensor, Product]:
        """D(x, sigma) and the function v -> J^T v, which can be called once."""
        at = self._at(function, x, sigma)
        self.forwards += 1
        with trace.range("denoiser"):
            output, transposed = at.network.linearize(at.input(x))

        def product(v: Tensor) -> Tensor:
            self.products += 1
            with trace.range("vjp"):
                return at.product(v, transposed((at.out * v).to(output.dtype)))

        return at.denoised(x, output), product

    def diffuse(self, mean: Tensor, std: Tensor, draw: int) -> Tensor:
        """A sample of N(mean, std^2 I); `draw` counts the draws of the run, 0 is the start."""
        with trace.range("transition"):
            counter = torch.tensor([draw], device=mean.device)
            return self._transition(
                mean, self._levels(std, mean), self.noise.seed, self.noise.sample, counter
            )

    def _at(self, function: Function, x: Tensor, sigma: Tensor) -> _AtLevel:
        """The function at a noise level, its network compiled where that is wished."""
        if id(function) not in self._networks:
            made = make_network(function, x, self.condition, self.compile, self.calls)
            made.load(self.condition)
            self._networks[id(function)] = made
        network = self._networks[id(function)]
        scalings = scalings_at(function, sigma.to(x.device).expand(len(x)))
        skip, out, c_in, noise = (c.to(x) for c in scalings)
        network.set_level(noise, c_in, float(sigma.max()), x[0].numel())
        at = _AtLevel(network, *(column(c, x) for c in (skip, out, c_in)))
        if not network.is_ready:
            self._prepare(network, at.input(x))
        return at

    def _prepare(self, network: Network, u: Tensor) -> None:
        self.announce("compiling the network")
        try:
            network.prepare(u)
        finally:
            self.announce("")

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
