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
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.evaluation.figures import INK, MUTED, new_figure
from vml_fast.evaluation.images import to_uint8
from vml_fast.evaluation.metrics import psnr
from vml_fast.evaluation.studies.priors import smooth_prior
from vml_fast.operators import LinearOperator, task
from vml_fast.runtime.noise import Noise
from vml_fast.schedules import edm_schedule
from vml_fast.solvers import VMLMAP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOISE_STDS = (0.01, 0.05, 0.1, 0.2)
RATIOS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
COLORS = ("#1e3a8a", "#2563eb", "#d97706", "#dc2626")
STEP_COLORS = ("#dc2626", "#2563eb", "#059669")
TASK = "random50"
SHOWN_NOISE = 0.2
CLIP = 3.0
"""Diverging results are drawn and scored clipped to this."""


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
            leaf = x.detach().requires_grad_(True)
            with torch.enable_grad():
                denoised = prior(leaf, sigma)
            clean = denoised.detach()
            bracket = operator.adjoint(y - operator.forward(clean))
            bracket = bracket + (noise_std / level) ** 2 * (clean - x)
            (step,) = torch.autograd.grad(denoised, leaf, size * bracket)
            x = (x + step).clamp(-1e3, 1e3)
            sizes.append(float(step.square().mean().sqrt()))
        growth.append(sizes[-1] / max(sizes[0], 1e-30) if sizes else float("nan"))
        x_denoised = prior(x, sigma)
        if i + 1 == len(levels):
            return x_denoised, growth
        following = levels[i + 1]
        ratio = following / level * (x - x_denoised)
        x = x_denoised + (ratio if following <= tau else following * noise.draw(i + 1))
    return x, growth


def tau_figure(found: Sequence[Point], trial: Trial) -> Figure:
    """The artifacts, when they arise, and the quality against tau / sigma_y."""
    title = "Noisy data: the step size that diverges at low levels, its cure, and where to stop"
    figure = new_figure(9.6, 5.6, title)
    outline = figure.add_gridspec(2, 1, height_ratios=(1, 1.5))
    panels = {"truth": trial.truth, "measurement": trial.y, **trial.images}
    cells = outline[0].subgridspec(1, len(panels))
    for i, (name, image) in enumerate(panels.items()):
        _draw_image(figure.add_subplot(cells[0, i]), name, image, trial.truth)
    curves = outline[1].subgridspec(1, 2)
    _draw_growth(figure.add_subplot(curves[0, 0]), trial)
    _draw_sweep(figure.add_subplot(curves[0, 1]), found)
    return figure


def _draw_image(axes: Axes, name: str, image: Tensor, truth: Tensor) -> None:
    axes.imshow(to_uint8(image)[0].numpy(), cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(name, fontsize=8, color=INK, pad=3)
    if name not in ("truth", "measurement"):
        value = float(psnr(image.clamp(-CLIP, CLIP)[None], truth[None]))
        axes.set_xlabel(f"{value:.1f} dB", fontsize=7, color=MUTED, labelpad=2)


def _draw_growth(axes: Axes, trial: Trial) -> None:
    for (name, values), color in zip(trial.growth.items(), STEP_COLORS, strict=False):
        axes.plot(trial.sigmas, values, "o-", ms=3, lw=1.1, color=color, label=name)
    axes.axhline(1.0, color=MUTED, lw=0.7, ls=":")
    axes.axvline(0.35 * SHOWN_NOISE, color=MUTED, lw=0.8, ls="--", label=".35 σ_y")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_xaxis()
    axes.set_xlabel(f"noise level σ, σ_y = {SHOWN_NOISE:g}", fontsize=7, color=INK)
    axes.set_ylabel("last step over first step of a level", fontsize=7, color=INK)
    _finish(axes)


def _draw_sweep(axes: Axes, found: Sequence[Point]) -> None:
    levels = list(dict.fromkeys(point.noise_std for point in found))
    for noise_std, color in zip(levels, COLORS, strict=False):
        for preconditioned, line in ((False, "o-"), (True, "s--")):
            ones = [
                p for p in found if (p.noise_std, p.preconditioned) == (noise_std, preconditioned)
            ]
            label = f"σ_y = {noise_std:g}" if not preconditioned else None
            ratios = [max(p.ratio, 0.05) for p in ones]  # 0 has no place on this axis
            axes.plot(ratios, [p.psnr for p in ones], line, color=color, ms=3, lw=1.1, label=label)
    axes.set_xscale("log")
    ticks = sorted({point.ratio for point in found})
    axes.set_xticks([max(tick, 0.05) for tick in ticks], [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(
        "τ / σ_y (0: every level optimized); dashed: preconditioned", fontsize=7, color=INK
    )
    axes.set_ylabel("PSNR, dB", fontsize=7, color=INK)
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.tick_params(which="both", labelsize=6.5, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=6.5, frameon=False)
