"""A solve to be timed: H, y = H x + noise of smooth random images, and the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vml_fast.checks import check_count
from vml_fast.denoisers.base import ScaledDenoiser
from vml_fast.errors import InputError
from vml_fast.evaluation.measurements import SIMULATION_DRAW, make_operator, simulate
from vml_fast.operators.base import LinearOperator
from vml_fast.ops.philox import normal
from vml_fast.reference import vml_map
from vml_fast.runtime.choose import Wish
from vml_fast.runtime.graph import WARM_UPS, Recording, new_pool
from vml_fast.runtime.runners import make_network
from vml_fast.solvers import VMLMAP
from vml_fast.solvers.checks import check_noise_std
from vml_fast.solvers.methods import method_options

COARSE = 4
"""Side of the random images before they are enlarged."""
IMAGE_DRAW = SIMULATION_DRAW - 1
"""Of the random images."""


@dataclass(frozen=True)
class Workload:
    """What is solved; the time does not depend on what the images show.

    Attributes:
        denoiser: the prior, as loaded.
        operator: H.
        y: (B, *measurement_shape) float32.
        noise_std: sigma_y.
        method: a name of `vml_fast.solvers.METHODS`.
        steps: N.
        inner_steps: K.
    """

    denoiser: ScaledDenoiser
    operator: LinearOperator
    y: Tensor
    noise_std: float
    method: str
    steps: int
    inner_steps: int

    @property
    def batch(self) -> int:
        """B."""
        return len(self.y)

    def solver(self, denoiser: ScaledDenoiser | None = None, **options: Any) -> VMLMAP:
        """The method's solver.

        Args:
            denoiser: in place of the workload's.
            **options: further keywords of `VMLMAP`.
        """
        return VMLMAP(
            denoiser or self.denoiser,
            self.operator,
            noise_std=self.noise_std,
            steps=self.steps,
            inner_steps=self.inner_steps,
            **method_options(self.method, self.noise_std),
            **options,
        )

    def reference(self) -> Tensor:
        """The restorations by `vml_fast.reference`: plain eager PyTorch."""
        options = method_options(self.method, self.noise_std)
        return vml_map(
            self.denoiser,
            self.operator,
            self.y,
            noise_std=self.noise_std,
            steps=self.steps,
            inner_steps=self.inner_steps,
            **options,
        )


def make_workload(
    denoiser: ScaledDenoiser,
    task_name: str,
    *,
    batch: int,
    steps: int,
    inner_steps: int,
    method: str = "vml-map-pre",
    noise_std: float = 0.0,
    seed: int = 0,
) -> Workload:
    """A workload on the denoiser's device.

    Args:
        denoiser: the prior.
        task_name: a key of `vml_fast.operators.TASKS`; "inpaint" has no mask here.
        batch: B, at least 1.
        steps: N, at least 1.
        inner_steps: K, at least 1.
        method: a name of `vml_fast.solvers.METHODS`.
        noise_std: sigma_y, in [0, 1e6].
        seed: draws the images, their noise, and the task.

    Raises:
        InputError: a value outside its range, or a task that needs more than its name.
    """
    for name, count in (("batch", batch), ("steps", steps), ("inner_steps", inner_steps)):
        check_count(name, count, 1)
    check_noise_std(noise_std)
    method_options(method)
    device = next(denoiser.parameters()).device
    operator = make_operator(task_name, denoiser.image_shape, seed=seed)
    truth = smooth_images(batch, denoiser.image_shape, seed).to(device)
    y = simulate(operator, truth, noise_std, torch.arange(batch), seed)
    return Workload(denoiser, operator, y, noise_std, method, steps, inner_steps)


def smooth_images(batch: int, image_shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """(B, C, H, W) random images in [-1, 1], on the CPU: few random colors, enlarged."""
    shape = (batch, image_shape[0], COARSE, COARSE)
    seeds, sample = torch.full((batch,), seed), torch.arange(batch)
    coarse = normal(shape, seed=seeds, sample=sample, draw=IMAGE_DRAW, dtype=torch.float32)
    return torch.nn.functional.interpolate(
        coarse.clamp(-1, 1), size=image_shape[1:], mode="bilinear"
    )


def bare_pass(
    denoiser: ScaledDenoiser, batch: int, *, compile: bool = False, cuda_graph: bool = False
) -> Callable[[], Tensor]:
    """One forward of the network and one product with its transposed Jacobian, nothing else.

    Args:
        denoiser: the prior; its network runs in the network's dtype at noise level 1.
        batch: B.
        compile: with the compiled network of `vml_fast.runtime`.
        cuda_graph: recorded and replayed.

    Returns:
        A function without arguments that does it, and returns the product.

    Raises:
        BackendUnavailable: the network cannot be compiled or recorded; the message says why.
    """
    device = next(denoiser.parameters()).device
    x = smooth_images(batch, denoiser.image_shape).to(device)
    network = make_network(denoiser, x, {}, compile, 1)
    u = network.as_input(x)
    scalings = denoiser.scalings(torch.ones(batch, device=device))
    network.load({})
    network.set_level(scalings.noise, scalings.input, 1.0, x[0].numel())
    network.prepare(u)
    cotangent = torch.ones_like(u)

    def run() -> Tensor:
        _, product = network.linearize(u)
        return product(cotangent)

    if not cuda_graph:
        return run
    recording = Recording(run, device, new_pool(), WARM_UPS["step"])
    while not recording.is_next:
        recording()
    recording.record()
    return recording


def runner_options(compile: str, cuda_graph: str) -> dict[str, Wish]:
    """The keywords of `VMLMAP` that choose a runner.

    Args:
        compile: "auto", "on" or "off".
        cuda_graph: likewise.

    Raises:
        InputError: another word.
    """
    words: dict[str, Wish] = {"auto": "auto", "on": True, "off": False}
    for name, word in (("compile", compile), ("cuda_graph", cuda_graph)):
        if word not in words:
            raise InputError(f"{name} is {word!r}; it must be auto, on or off.")
    return {"compile": words[compile], "cuda_graph": words[cuda_graph]}
