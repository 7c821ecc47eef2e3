"""Study: noisy data, where to stop optimizing, and the artifacts at low noise levels.

With the step size sigma_y² (the analogue of MAP-GA's) gradient descent on VML_S diverges at noise
levels below about .35 sigma_y: where a direction has the prior variance sigma_t², the Hessian of
the loss is 1/(4 sigma_t²) from the prior alone, and sigma_y² times that passes 2. What it adds
there are details as sharp as the prior's finest scale. The step size of this package,
sigma_y² sigma_t²/(L sigma_t² + sigma_y²), is below the bound at every level; so the cure needs no
tau. Stopping at tau = c sigma_y is another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.evaluation.metrics import psnr
from vml_fast.evaluation.studies.priors import smooth_prior
from vml_fast.operators import LinearOperator, task
from vml_fast.runtime.noise import Noise
from vml_fast.schedules import edm_schedule
from vml_fast.solvers import VMLMAP

NOISE_STDS = (0.01, 0.05, 0.1, 0.2)
RATIOS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
TASK = "random50"
SHOWN_NOISE = 0.2


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
        images: restorations by name.
        sigmas: the noise levels.
        growth: by name, per level: RMS of the last gradient step over that of the first one.
    """

    truth: Tensor
    y: Tensor
    images: dict[str, Tensor]
    sigmas: list[float]
    growth: dict[str, list[float]]


def problem(
    prior: GaussianMixtureDenoiser, noise_std: float, count: int
) -> tuple[LinearOperator, Tensor, Tensor]:
    """H, images of the prior, and their measurements: half of the pixels, noisy."""
    operator = task(TASK, prior.image_shape)
    truth = prior.mixture.sample(count, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2)).double()
    return operator, truth, operator.forward(truth + noise_std * noise)


def sweep(
    prior: GaussianMixtureDenoiser | None = None,
    noise_stds: Sequence[float] = NOISE_STDS,
    ratios: Sequence[float] = RATIOS,
    *,
    count: int = 8,
    steps: int = 20,
    inner_steps: int = 10,
) -> list[Point]:
    """Quality against tau / sigma_y, for every noise level and both forms."""
    prior = prior or smooth_prior()
    found = []
    for noise_std in noise_stds:
        operator, truth, y = problem(prior, noise_std, count)
        for ratio in ratios:
            for preconditioned in (False, True):
                result = VMLMAP(
                    prior, operator, noise_std=noise_std, steps=steps, inner_steps=inner_steps,
                    preconditioner="auto" if preconditioned else None,
                    stop_sigma=ratio * noise_std if ratio else None, backend="reference",
                ).solve(y)  # fmt: skip
                quality = float(psnr(result.image, truth).mean())
                residual = float(result.residual.mean()) / noise_std
                found.append(Point(noise_std, ratio, preconditioned, quality, residual))
    return found


def artifacts(
    prior: GaussianMixtureDenoiser | None = None,
    noise_std: float = SHOWN_NOISE,
    *,
    steps: int = 20,
    inner_steps: int = 20,
) -> Trial:
    """One image by the naive step size sigma_y², the stable one, and with tau = sigma_y."""
    prior = prior or smooth_prior()
    operator, truth, y = problem(prior, noise_std, 1)
    images, growth = {}, {}
    levels = edm_schedule(steps, sigma_min=prior.sigma_min, sigma_max=prior.sigma_max)
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
    prior: GaussianMixtureDenoiser,
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
    prior: GaussianMixtureDenoiser,
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
