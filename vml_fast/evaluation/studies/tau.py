"""Study: noisy data, where to stop optimizing, and the artifacts at low noise levels.

With the step size sigma_y² (the analogue of MAP-GA's) gradient descent on VML_S diverges at noise
levels below about .35 sigma_y: where a direction has the prior variance sigma_t², the Hessian of
the loss is 1/(4 sigma_t²) from the prior alone, and sigma_y² times that passes 2. What it adds
there are details as sharp as the prior's finest scale. The step size of this package,
sigma_y² sigma_t²/(L sigma_t² + sigma_y²), is below the bound at every level; so the cure needs no
tau. Stopping at tau = c sigma_y is another one, and with a learned denoiser, whose errors the steps
at low levels add to the image, it is worth more than the cure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vml_fast.denoisers import (
    GaussianMixtureDenoiser,
    ScaledDenoiser,
    accelerate,
    load_denoiser,
)
from vml_fast.evaluation.comparison.dataset import spread
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.metrics import psnr
from vml_fast.evaluation.studies.priors import smooth_prior
from vml_fast.operators import LinearOperator, task
from vml_fast.runtime.noise import Noise
from vml_fast.schedules import SIGMA_MAX, SIGMA_MIN, edm_schedule
from vml_fast.solvers import VMLMAP

NOISE_STDS = (0.01, 0.05, 0.1, 0.2)
RATIOS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
TASK = "random50"
SHOWN_NOISE = 0.2
LEARNED = "emoji64"
LEARNED_RATIOS = (0.0, 0.5, 1.0, 2.0)

Denoiser = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Point:
    """VML-MAP with one tau.

    Attributes:
        noise_std: sigma_y.
        ratio: tau / sigma_y; 0 optimizes every level.
        preconditioned: whether it is the preconditioned form.
        psnr: mean over the images, dB.
        residual: RMS residual over sigma_y, mean.
    """

    noise_std: float
    ratio: float
    preconditioned: bool
    psnr: float
    residual: float


@dataclass(frozen=True)
class Trial:
    """One image, restored with the naive and the stable step size, with and without tau.

    Attributes:
        truth: (1, H, W).
        y: (1, H, W), 0 where hidden.
        images: restorations by name, not clipped.
        sigmas: the noise levels.
        growth: by name, per level: RMS of the last gradient step over that of the first one.
    """

    truth: Tensor
    y: Tensor
    images: dict[str, Tensor]
    sigmas: list[float]
    growth: dict[str, list[float]]


class Study(NamedTuple):
    """All of it with one prior.

    Attributes:
        name: of the prior.
        found: quality against tau / sigma_y.
        trial: the artifacts.
    """

    name: str
    found: list[Point]
    trial: Trial


def exact_study(images: int) -> Study:
    """On pictures whose denoiser is exact."""
    prior = smooth_prior()
    truth = exact_images(prior, images)
    found = sweep(prior, truth, backend="reference")
    return Study("exact prior, 16×16", found, artifacts(prior, truth[:1]))


def learned_study(images: int) -> Study:
    """On held-out emoji with the embedded denoiser, preconditioned, with fewer steps."""
    prior = load_denoiser(LEARNED)
    assert isinstance(prior, ScaledDenoiser)
    prior = accelerate(prior, "float32")
    every = heldout_emoji()[1]
    truth = every[spread(len(every), images)]
    found = sweep(prior, truth, ratios=LEARNED_RATIOS, forms=(True,), inner_steps=5)
    return Study(LEARNED, found, artifacts(prior, truth[:1], inner_steps=5))


def exact_images(prior: GaussianMixtureDenoiser, count: int) -> Tensor:
    """Images of an exact prior, (count, C, H, W)."""
    return prior.mixture.sample(count, generator=torch.Generator().manual_seed(1))


def problem(truth: Tensor, noise_std: float) -> tuple[LinearOperator, Tensor]:
    """H and y: half of the pixels of the images (B, C, H, W), noisy."""
    channels, height, width = truth.shape[1:]
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2)).to(truth)
    operator = task(TASK, (channels, height, width))
    return operator, operator.forward(truth + noise_std * noise)


def sweep(
    prior: Denoiser,
    truth: Tensor,
    noise_stds: Sequence[float] = NOISE_STDS,
    ratios: Sequence[float] = RATIOS,
    *,
    forms: Sequence[bool] = (False, True),
    steps: int = 20,
    inner_steps: int = 10,
    backend: str = "auto",
) -> list[Point]:
    """Quality against tau / sigma_y at every noise level.

    Args:
        prior: D.
        truth: (B, C, H, W) images.
        noise_stds: sigma_y.
        ratios: tau / sigma_y.
        forms: whether preconditioned.
        steps: N.
        inner_steps: K.
        backend: of the fused ops.
    """
    found = []
    for noise_std in noise_stds:
        operator, y = problem(truth, noise_std)
        for ratio in ratios:
            for preconditioned in forms:
                result = VMLMAP(
                    prior, operator, noise_std=noise_std, steps=steps, inner_steps=inner_steps,
                    preconditioner="auto" if preconditioned else None,
                    stop_sigma=ratio * noise_std if ratio else None, backend=backend,
                ).solve(y)  # fmt: skip
                quality = float(psnr(result.image, truth).mean())
                residual = float(result.residual.mean()) / noise_std
                found.append(Point(noise_std, ratio, preconditioned, quality, residual))
    return found


def artifacts(
    prior: Denoiser,
    truth: Tensor,
    noise_std: float = SHOWN_NOISE,
    *,
    steps: int = 20,
    inner_steps: int = 20,
) -> Trial:
    """One image (1, C, H, W) by the naive step size sigma_y², the stable one, and tau = sigma_y."""
    operator, y = problem(truth, noise_std)
    images, growth = {}, {}
    low, high = getattr(prior, "sigma_min", SIGMA_MIN), getattr(prior, "sigma_max", SIGMA_MAX)
    levels = edm_schedule(steps, sigma_min=low, sigma_max=high)
    for name, stable, tau in (
        ("step σ_y²", False, 0.0),
        ("stable step", True, 0.0),
        ("stable step, τ = σ_y", True, noise_std),
    ):
        image, growth[name] = _descend(
            prior, operator, y, noise_std, levels, inner_steps, stable=stable, tau=tau
        )
        images[name] = image[0]
    return Trial(truth[0], y[0], images, levels.tolist(), growth)


def _descend(
    prior: Denoiser,
    operator: LinearOperator,
    y: Tensor,
    noise_std: float,
    levels: Tensor,
    inner_steps: int,
    *,
    stable: bool,
    tau: float,
) -> tuple[Tensor, list[float]]:
    """VML-MAP without preconditioner, with either step size."""
    noise = Noise(0, None, (len(y), *operator.image_shape), y)
    x, growth = levels[0] * noise.draw(0), []
    for i, level in enumerate(levels):
        sigma = level.expand(len(y)).to(y)
        size = level**2 / (level**2 + noise_std**2) if stable else level.new_tensor(1.0)
        sizes = []
        for _ in range(inner_steps if level > tau else 0):
            step = size * _direction(prior, operator, y, x, sigma, noise_std)
            x = (x + step).clamp(-1e3, 1e3)
            sizes.append(float(step.square().mean().sqrt()))
        growth.append(sizes[-1] / max(sizes[0], 1e-30) if sizes else float("nan"))
        denoised = prior(x, sigma)
        if i + 1 < len(levels):
            following = levels[i + 1]
            ddim = following / level * (x - denoised)
            x = denoised + (ddim if following <= tau else following * noise.draw(i + 1))
    return denoised, growth


def _direction(
    prior: Denoiser,
    operator: LinearOperator,
    y: Tensor,
    x: Tensor,
    sigma: Tensor,
    noise_std: float,
) -> Tensor:
    """-sigma_y² times the gradient of VML_S at x (B, C, H, W)."""
    leaf = x.detach().requires_grad_(True)
    with torch.enable_grad():
        denoised = prior(leaf, sigma)
    clean = denoised.detach()
    bracket = operator.adjoint(y - operator.forward(clean))
    bracket = bracket + (noise_std / sigma.reshape(-1, 1, 1, 1)) ** 2 * (clean - x)
    return torch.autograd.grad(denoised, leaf, bracket)[0]
