"""Study: VML-MAP on the latents of an autoencoder, its options, and the same in pixel space.

The paper reports blurred and inconsistent results in latent space. Two things make them: the plain
gradient Dec'^T H^T r fits the data slowly, since the decoder's derivative is as badly conditioned
as H; and no latents fit them all, since the autoencoder loses part of every image. The first is
cured in the step (re-encoding, Gauss-Newton), the second by taking the autoencoder's error for
noise of the data, and by the final correction in image space.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vml_fast.denoisers import LatentDenoiser
from vml_fast.evaluation.comparison.dataset import spread
from vml_fast.evaluation.comparison.statistics import Estimate, difference
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.measurements import simulate
from vml_fast.evaluation.metrics import psnr
from vml_fast.evaluation.perceptual import perceptual_measures
from vml_fast.operators import LinearOperator, task
from vml_fast.solvers import VMLMAP
from vml_fast.solvers.latent_vml_map import project

TASKS = ("sr4", "half", "deblur-gauss")
STEPS, INNER_STEPS = 33, 1
"""99 network passes, the setting of VML-MAP at a budget of 100."""
PIXELS = "pixel space, vml-map-pre"
CEILING = "autoencoder alone, Dec(Enc(truth))"
FORMS: dict[str, dict[str, Any]] = {
    "plain gradient": {"preconditioner": None},
    "re-encoding": {"preconditioner": "reencode", "autoencoder_std": 0.0},
    "Gauss-Newton": {"preconditioner": "gauss_newton", "autoencoder_std": 0.0},
    "Gauss-Newton, σ_e/4": {"preconditioner": "gauss_newton"},
}
"""Name to keywords of `LatentVMLMAP`; σ_e is the error of the autoencoder, taken for noise of the
data."""
SHOWN = 0
"""The image of the figure."""


@dataclass(frozen=True)
class Outcome:
    """A method on a task.

    Attributes:
        task: its name.
        method: `PIXELS`, `CEILING` or a key of `FORMS`.
        projected: whether the result was corrected in image space, x + H⁺ (y - H x) without
            noise, by `LatentVMLMAP`'s regularized inverse with it.
        psnr: of the clipped images, dB.
        residual: RMS of H x - y, of the unclipped ones.
        st_lpips: ST-LPIPS; empty where its weights are not here.
        passes: denoiser forwards and Jacobian products per image.
        autoencoder_passes: decodes, encodes and products with the decoder's Jacobian per image.
        seconds: CPU time per image.
    """

    task: str
    method: str
    projected: bool
    psnr: list[float]
    residual: list[float]
    st_lpips: list[float]
    passes: int = 0
    autoencoder_passes: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The method, and whether it was corrected."""
        return f"{self.method}, projected" if self.projected else self.method

    def mean(self, measure: str) -> float:
        """Over the images; NaN without any."""
        values = getattr(self, measure)
        return sum(values) / len(values) if values else float("nan")


@dataclass(frozen=True)
class Shown:
    """What the figure shows of a task: pictures (3, H, W) by name."""

    task: str
    pictures: dict[str, Tensor]


def pictures(count: int) -> tuple[list[str], Tensor]:
    """Held-out emoji spread evenly over their names, the whole ladder of difficulty."""
    names, images = heldout_emoji()
    rows = spread(len(names), count)
    return [names[i] for i in rows], images[rows]


def beside_pixels(found: Sequence[Outcome], outcome: Outcome, measure: str) -> Estimate:
    """The mean of a measure minus that of pixel space on the same task, image by image.

    NaN where the measure could not be taken.
    """
    pixels = next(one for one in found if (one.task, one.method) == (outcome.task, PIXELS))
    values = getattr(outcome, measure)
    if not values:
        return Estimate(math.nan, math.nan, math.nan)
    return difference(values, getattr(pixels, measure))


def compare(
    latent: LatentDenoiser,
    pixels: Callable[..., Tensor],
    tasks: Sequence[str] = TASKS,
    *,
    noise_std: float = 0.0,
    count: int = 8,
    steps: int = STEPS,
    inner_steps: int = INNER_STEPS,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[list[Outcome], list[Shown]]:
    """Every form on every task, beside pixel space at the same network passes.

    Args:
        latent: the latent prior.
        pixels: a denoiser of images of the same shape.
        tasks: names of `vml_fast.operators.TASKS`.
        noise_std: sigma_y.
        count: how many held-out emoji.
        steps: N.
        inner_steps: K.
        say: told what is done.
    """
    _, truth = pictures(count)
    found, shown = [], []
    for name in tasks:
        problem = _problem(name, latent.image_shape, truth, noise_std)
        initial = problem.operator.pseudo_inverse(problem.y)
        kept = {"truth": truth[SHOWN], "H⁺ y": initial[SHOWN]}
        for outcome, images in _outcomes(latent, pixels, problem, steps, inner_steps):
            found.append(outcome)
            kept[outcome.name] = images[SHOWN]
            say(f"{name}, {outcome.name}: {outcome.mean('psnr'):.2f} dB")
        shown.append(Shown(name, kept))
    return found, shown


@dataclass(frozen=True)
class _Problem:
    """A task: y = H x + sigma_y n, of which the x are known."""

    task: str
    operator: LinearOperator
    truth: Tensor
    noise_std: float
    y: Tensor

    def scored(self, images: Tensor, method: str, projected: bool, **costs: Any) -> Outcome:
        """How near the images are to the truth and to y."""
        measures, _ = perceptual_measures(self.operator.image_shape)
        st_lpips = measures.get("st_lpips")
        return Outcome(
            self.task,
            method,
            projected,
            psnr(images.clamp(-1, 1), self.truth).tolist(),
            self.operator.residual(images, self.y).tolist(),
            [] if st_lpips is None else st_lpips(images, self.truth).tolist(),
            **costs,
        )

    def projected(self, images: Tensor, error: float) -> Tensor:
        """The images corrected in image space, as `LatentVMLMAP(final_projection=True)` does."""
        noise_std = torch.full((len(images),), self.noise_std, dtype=torch.float64)
        return project(images, self.operator, self.y, noise_std, error)


def _problem(
    name: str, image_shape: tuple[int, int, int], truth: Tensor, noise_std: float
) -> _Problem:
    operator = task(name, image_shape)
    y = simulate(operator, truth, noise_std, torch.arange(len(truth)))
    return _Problem(name, operator, truth, noise_std, y)


def _outcomes(
    latent: LatentDenoiser,
    pixels: Callable[..., Tensor],
    problem: _Problem,
    steps: int,
    inner_steps: int,
) -> Iterator[tuple[Outcome, Tensor]]:
    """The outcomes of a task, each with its images."""

    def solved(prior: Callable[..., Tensor], **options: Any) -> tuple[Tensor, dict[str, Any]]:
        start = time.process_time()
        solver = VMLMAP(
            prior,
            problem.operator,
            noise_std=problem.noise_std,
            steps=steps,
            inner_steps=inner_steps,
            **options,
        )
        result = solver.solve(problem.y)
        return result.image, {
            "passes": result.network_passes,
            "autoencoder_passes": result.autoencoder_calls,
            "seconds": (time.process_time() - start) / len(problem.y),
        }

    images, costs = solved(pixels)
    yield problem.scored(images, PIXELS, False, **costs), images
    with torch.no_grad():
        images = latent.decode(latent.encode(problem.truth))
    yield problem.scored(images, CEILING, False), images
    for method, options in FORMS.items():
        images, costs = solved(latent, final_projection=False, **options)
        yield problem.scored(images, method, False, **costs), images
        images = problem.projected(images, latent.autoencoder_std)
        yield problem.scored(images, method, True, **costs), images
