"""Study: what do the traces change that VML-MAP drops from the loss?

The descent of method VML-MAP on the full loss, beside that on the simplified one, on priors whose
posterior modes are known: the 2-D mixture, and a mixture of small gray pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vml_fast.covariance_traces import exact_traces, hutch_plus_plus, hutchinson, trace_gradient
from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.evaluation.figures import ACCENT, INK, MUTED, new_figure
from vml_fast.evaluation.studies.priors import small_emoji
from vml_fast.evaluation.studies.samples import score
from vml_fast.evaluation.studies.toy import Toy, make_toy
from vml_fast.operators import LinearOperator, half_mask, task
from vml_fast.runtime.noise import Noise
from vml_fast.schedules import edm_schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS = ("drop", "hutchinson", "hutch++", "exact")
PROBES = 3
COLORS = {"drop": ACCENT, "hutchinson": "#d97706", "hutch++": "#059669", "exact": "#dc2626"}


@dataclass(frozen=True)
class Problem:
    """One prior and measurement, solved from many starts.

    Attributes:
        name: in the figure.
        denoiser: the exact denoiser of a mixture.
        operator: H.
        y: (1, *measurement_shape).
        noise_std: sigma_y, above 0.
    """

    name: str
    denoiser: GaussianMixtureDenoiser
    operator: LinearOperator
    y: Tensor
    noise_std: float


@dataclass(frozen=True)
class Descent:
    """What a run gave.

    Attributes:
        points: (B, n) results.
        sigmas: the noise levels.
        shares: per level, the mean over samples of |gradient of the traces| / |gradient of VML_S|
            at the end of the level.
    """

    points: Tensor
    sigmas: list[float]
    shares: list[float]


def descend(
    problem: Problem, form: str, count: int, *, steps: int, inner_steps: int, seed: int = 0
) -> Descent:
    """VML-MAP without preconditioner, with the traces in one of the `FORMS`.

    Args:
        problem: what to solve; `count` restorations of one measurement.
        form: "drop" is the method itself.
        count: B.
        steps: N.
        inner_steps: K.
        seed: of all random numbers.
    """
    denoiser, operator = problem.denoiser, problem.operator
    y = problem.y.expand(count, *problem.y.shape[1:])
    norm2 = max(1.0, operator.norm() ** 2)
    levels = edm_schedule(steps, sigma_min=denoiser.sigma_min, sigma_max=denoiser.sigma_max)
    noise = Noise(seed, None, (count, *operator.image_shape), y)
    x = levels[0] * noise.draw(0)
    shares = []
    for i, level in enumerate(levels):
        sigma = level.expand(count).to(y)
        total = norm2 * level**2 + problem.noise_std**2
        a, b = float(level**2 / total), float(problem.noise_std**2 / total)
        share = 0.0
        for j in range(inner_steps):
            step = _simplified_step(problem, y, x, sigma, a, b)
            if form != "drop":
                traces = _estimate(form, seed, i * inner_steps + j)
                added = trace_gradient(traces, denoiser, operator, x, sigma, a, b)
                share = float((_norms(added) / _norms(step).clamp_min(1e-30)).median())
                step = step - added
            x = x + step
        shares.append(share)
        x = denoiser(x, sigma)
        if i + 1 < len(levels):
            x = x + levels[i + 1] * noise.draw(i + 1)
    return Descent(x.flatten(1), levels.tolist(), shares)


def _simplified_step(
    problem: Problem, y: Tensor, x: Tensor, sigma: Tensor, a: float, b: float
) -> Tensor:
    """Jᵀ[ a Hᵀ(y - H D) + b (D - x) ]."""
    leaf = x.detach().requires_grad_(True)
    with torch.enable_grad():
        denoised = problem.denoiser(leaf, sigma)
    clean = denoised.detach()
    data = problem.operator.adjoint(y - problem.operator.forward(clean))
    (step,) = torch.autograd.grad(denoised, leaf, a * data + b * (clean - x))
    return step


def _estimate(form: str, seed: int, draw: int) -> Any:
    if form == "exact":
        return exact_traces
    make = hutchinson if form == "hutchinson" else hutch_plus_plus
    return make(PROBES, seed=seed, draw=draw)


def _norms(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def toy_problem(toy: Toy | None = None) -> Problem:
    """The 2-D mixture of `vml-fast evaluate toy`."""
    toy = toy or make_toy()
    return Problem("2-D mixture", toy.denoiser, toy.operator, toy.y, toy.noise_std)


def picture_problem(side: int = 16, components: int = 24, noise_std: float = 0.1) -> Problem:
    """Gray pictures: a mixture around held-out emoji at side×side, and the left half of one.

    Args:
        side: pixels per side, a divisor of 64.
        components: how many emoji.
        noise_std: sigma_y.
    """
    denoiser = GaussianMixtureDenoiser(small_emoji(side, components), 0.15**2)
    shape = (1, side, side)
    operator = task("inpaint", shape, mask=half_mask(shape))
    truth = denoiser.mixture.sample(1, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(4)).double()
    y = operator.forward(truth + noise_std * noise)
    return Problem(f"gray pictures of {side}×{side}", denoiser, operator, y, noise_std)


def compare(
    problem: Problem, count: int, *, steps: int, inner_steps: int, forms: Sequence[str] = FORMS
) -> tuple[dict[str, Descent], dict[str, dict[str, float]]]:
    """Every form on a problem: the runs, and how they lie to the posterior.

    The scores are those of `samples.score`, and "moved": the mean distance of a result to that of
    the same start with the traces dropped.
    """
    runs = {
        form: descend(problem, form, count, steps=steps, inner_steps=inner_steps) for form in forms
    }
    posterior = problem.denoiser.posterior(problem.operator, problem.y, problem.noise_std)
    truth = posterior.sample(2000, generator=torch.Generator().manual_seed(0)).flatten(1)
    scores = {}
    for form, run in runs.items():
        moved = (run.points - runs["drop"].points).norm(dim=1).mean()
        scores[form] = asdict(score(run.points, posterior, truth)) | {"moved": float(moved)}
    return runs, scores


def traces_figure(
    problems: Sequence[Problem],
    runs: Sequence[dict[str, Descent]],
    scores: Sequence[dict[str, dict[str, float]]],
) -> Figure:
    """Per problem: the traces' share of the gradient over the levels, and where the runs end."""
    title = "What the traces change that VML-MAP drops: their share of the gradient; the results"
    figure = new_figure(7.6, 2.9 * len(problems) + 0.3, title)
    grid = figure.subplots(len(problems), 2, squeeze=False)
    for axes, problem, run, found in zip(grid, problems, runs, scores, strict=True):
        _draw_shares(axes[0], problem, run)
        _draw_gaps(axes[1], found)
    return figure


def _draw_shares(axes: Axes, problem: Problem, runs: dict[str, Descent]) -> None:
    for form, run in runs.items():
        if form != "drop":
            values = [max(share, 1e-6) for share in run.shares]
            axes.plot(run.sigmas, values, "o-", ms=3, lw=1.1, color=COLORS[form], label=form)
    axes.axhline(1.0, color=MUTED, lw=0.7, ls=":")
    axes.axvline(problem.noise_std, color=MUTED, lw=0.7, ls="--")
    axes.text(problem.noise_std, 1e-6, " σ_y", fontsize=7, color=MUTED, va="bottom")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_xaxis()
    axes.set_title(problem.name, fontsize=8, color=INK, loc="left")
    axes.set_xlabel("noise level σ (the run goes from left to right)", fontsize=7, color=INK)
    axes.set_ylabel("|trace part| / |VML_S part|", fontsize=7, color=INK)
    axes.tick_params(which="both", labelsize=6.5, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=6.5, frameon=False)


def _draw_gaps(axes: Axes, found: dict[str, dict[str, float]]) -> None:
    forms = list(found)
    gaps = [found[form]["mode_gap"] for form in forms]
    bars = axes.barh(forms, gaps, color=[COLORS[form] for form in forms], height=0.6)
    texts = [
        f" {found[form]['mode_gap']:.3f} nat; {found[form]['moved']:.3f} from drop"
        for form in forms
    ]
    axes.bar_label(bars, texts, fontsize=7, color=INK)
    axes.set_xlim(0, max(*gaps, 1e-3) * 2.2)
    axes.invert_yaxis()
    axes.set_xlabel("nats below the nearest posterior mode", fontsize=7, color=INK)
    axes.tick_params(labelsize=7, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
