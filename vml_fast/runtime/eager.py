"""The inner step, and the eager runner, which runs it as it is.

A runner is given the network as it is (`Network`) or compiled (`CompiledNetwork`), and either runs
the step (`EagerRunner`) or replays a recording of it (`GraphRunner`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.denoisers.base import per_image
from vml_fast.ops import resolve
from vml_fast.runtime.bracket import Bracket
from vml_fast.runtime.memory import Memory
from vml_fast.runtime.network import Network
from vml_fast.runtime.noise import Noise
from vml_fast.runtime.problem import Level, Problem, column


def silent(what: str) -> None:
    """Announce nothing."""


class EagerRunner:
    """Holds the state x and the network input u = c_in x, and advances them.

    `step` is all that an inner step is. It reads and writes memory that stays in place, asks the
    device for nothing, and does the same at every noise level: other runners record it.

    Args:
        network: F and the product with its Jacobian.
        bracket: computes v from the network's output.
        x: (B, C, H, W) the initial state.
        condition: keywords for the denoiser.

    Attributes:
        x: the state.
        u: the network's input, in its dtype and memory format.
        forwards: how often the network ran.
        products: how many products with its Jacobian were taken.
        warmup_seconds: time spent on what later steps and solves are spared.
        announce: is told what is being prepared, and "" when that is done.
    """

    def __init__(
        self,
        network: Network,
        bracket: Bracket,
        x: Tensor,
        *,
        condition: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.bracket = bracket
        self.memory = Memory()
        self.announce: Callable[[str], None] = silent
        backend = bracket.problem.backend
        self.update = resolve("update", backend, x.device, x.dtype)
        self.diffuse = resolve("transition", backend, x.device, x.dtype)
        self.u = torch.empty_like(network.as_input(x))
        self._start(x, condition or {})

    def load(self, problem: Problem, x: Tensor, condition: Mapping[str, Any]) -> None:
        """Begin another solve of the same structure, in the same memory."""
        self.bracket.load(problem)
        self._start(x, condition)

    def _start(self, x: Tensor, condition: Mapping[str, Any]) -> None:
        self.x = self.memory.write("x", x)
        self.network.load(condition)
        self.forwards = self.products = 0
        self.warmup_seconds = 0.0

    def set_level(self, level: Level) -> None:
        """Move to a noise level: its coefficients, and the network input of the present state."""
        c_skip, c_out, c_in, c_noise = (c.to(self.x) for c in level.scalings)
        self.bracket.set_level(level)
        self.network.set_level(c_noise, c_in, float(level.sigma), self.x[0].numel())
        write = self.memory.write
        self.coefficients = write("c_skip, c_in", torch.stack((c_skip, c_in), dim=1))
        self.mixture = write("c_skip, c_out", torch.stack((c_skip, c_out), dim=1))
        self.u.copy_(per_image(c_in, self.x) * self.x)

    def step(self) -> None:
        """x <- x + J^T v: one forward, bracket, one Jacobian product, update."""
        with trace.range("denoiser"):
            output, product = self.network.linearize(self.u)
        with trace.range("bracket"):
            v, cotangent = self.bracket(output, self.x)
        with trace.range("vjp"):
            gradient = product(cotangent)
        with trace.range("update"):
            self.update(self.x, v, gradient, self.u, self.coefficients)

    def estimate(self) -> Tensor:
        """D = c_skip x + c_out F(u) in the dtype of x (Karras et al. 2022, Eq. 7)."""
        with trace.range("denoiser"), torch.no_grad():
            output = self.network(self.u)
            skip, out = self.mixture.reshape(-1, 2, 1, 1, 1).unbind(1)
            return torch.addcmul(skip * self.x, out, output.to(self.x.dtype))

    def prepare(self) -> None:
        """Do at once, at the present level, what would delay the first step; the state stays."""
        for network in self.networks:
            if not network.is_ready:
                with self.warm_up("compiling the network"):
                    network.prepare(network.as_input(self.u))

    @property
    def networks(self) -> tuple[Network, ...]:
        """All that an inner step runs."""
        return (self.network, *self.bracket.networks)

    @contextmanager
    def warm_up(self, what: str) -> Iterator[None]:
        """Around what is a warm-up: announced, and its time taken."""
        self.announce(what)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.warmup_seconds += time.perf_counter() - start
            self.announce("")

    def inner_step(self) -> None:
        """One `step`, counted."""
        with trace.range("inner step"):
            self._run_step()
        self.forwards += len(self.networks)
        self.products += 1

    def denoise(self) -> Tensor:
        """D(x, sigma_t) at the present state, a tensor of its own; counted."""
        self.forwards += 1
        return self._run_estimate()

    def _run_step(self) -> None:
        self.step()

    def _run_estimate(self) -> Tensor:
        return self.estimate()

    def transition(
        self, denoised: Tensor, ratio: Tensor, sigma: Tensor, noise: Noise, draw: int
    ) -> None:
        """x <- D + ratio (x - D) + sigma n, each sample by its own ratio and sigma.

        Args:
            denoised: (B, C, H, W) D.
            ratio: (B,) sigma_{i+1} / sigma_i for DDIM, else 0; on the CPU.
            sigma: (B,) sigma_{i+1} for fresh noise, else 0.
            noise: the seeds and sample indices that key n.
            draw: index of the draw.
        """
        with trace.range("transition"):
            mean = denoised
            if bool((ratio != 0).any()):
                mean = torch.addcmul(denoised, column(ratio, denoised), self.x - denoised)
            counter = torch.tensor([draw], device=self.x.device)
            self.x.copy_(self.diffuse(mean, sigma.to(self.x), noise.seed, noise.sample, counter))
