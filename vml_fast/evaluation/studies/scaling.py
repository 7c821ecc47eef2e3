"""Study: the preconditioner as blurs grow wider, and when a decomposition stops paying."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.evaluation.figures import ACCENT, INK, MUTED, new_figure
from vml_fast.evaluation.studies.priors import smooth_prior
from vml_fast.operators import LinearMap, LinearOperator, MatrixOperator, SeparableBlur
from vml_fast.operators.kernels import gaussian_kernel
from vml_fast.solvers import VMLMAP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0)
NOISE_STD = 0.02
SIDES = (16, 32, 48, 64, 128)
DENSE_LIMIT = 48
INNER_STEPS = (2, 5)
FORMS: dict[str, tuple[str | None, bool]] = {
    # name: (preconditioner, whether H's decomposition is hidden, so that it takes CG)
    "none": (None, False),
    "pseudo_inverse": ("pseudo_inverse", False),
    "noise_aware": ("noise_aware", False),
    "noise_aware by CG": ("noise_aware", True),
}
COLORS = dict(zip(FORMS, (MUTED, "#dc2626", ACCENT, "#059669"), strict=True))


@dataclass(frozen=True)
class Quality:
    """A form of VML-MAP on a blur.

    Attributes:
        width: standard deviation of the blur in pixels.
        condition: largest over smallest singular value of H.
        inner_steps: K.
        form: a key of `FORMS`.
        error: RMS difference of a result to the exact posterior's nearest mode, median over the
            images.
        residual: RMS of H x - y over sigma_y, likewise.
    """

    width: float
    condition: float
    inner_steps: int
    form: str
    error: float
    residual: float


@dataclass(frozen=True)
class Cost:
    """What H⁺ y costs on images of a size, CPU seconds.

    Attributes:
        side: pixels per side, one channel.
        operator: what it is.
        setup: making the operator and its decomposition.
        apply: one H⁺ y.
        by_cg: one H⁺ y by conjugate gradients, which need no decomposition.
    """

    side: int
    operator: str
    setup: float
    apply: float
    by_cg: float

    @property
    def pays_after(self) -> float:
        """Applications after which the decomposition is the cheaper way; infinite where never."""
        gain = self.by_cg - self.apply
        return self.setup / gain if gain > 0 else float("inf")


def blur(side: int, width: float) -> SeparableBlur:
    """A Gaussian blur of gray images; the taps reach three standard deviations."""
    taps = min(2 * round(3 * width) + 1, 2 * (side // 2) - 1)
    return SeparableBlur((1, side, side), gaussian_kernel(taps, width))


def without_decomposition(operator: LinearOperator) -> LinearMap:
    """The same map as functions alone."""
    return LinearMap(operator.forward, operator.image_shape, adjoint=operator.adjoint)


def quality(
    prior: GaussianMixtureDenoiser | None = None,
    widths: Sequence[float] = WIDTHS,
    *,
    count: int = 7,
    steps: int = 20,
    inner_steps: int = 5,
) -> list[Quality]:
    """Every form on every blur: how near it comes to the posterior's modes.

    Args:
        prior: of gray images.
        widths: of the blurs.
        count: images, each restored once.
        steps: N.
        inner_steps: K.
    """
    prior = prior or smooth_prior()
    side = prior.image_shape[1]
    truth = prior.mixture.sample(count, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2)).double()
    found = []
    for width in widths:
        operator = blur(side, width)
        y = operator.forward(truth) + NOISE_STD * noise
        s = operator.singular_values()
        modes = [_modes(prior, operator, y[i]) for i in range(count)]
        for form, (preconditioner, hidden) in FORMS.items():
            solver = VMLMAP(
                prior, without_decomposition(operator) if hidden else operator,
                noise_std=NOISE_STD, steps=steps, inner_steps=inner_steps,
                preconditioner=preconditioner, backend="reference",
            )  # fmt: skip
            image = solver.solve(y).image
            # medians: now and then a start ends in a component that the data contradict
            error = statistics.median(_nearest(image[i], modes[i]) for i in range(count))
            residual = float(operator.residual(image, y).median()) / NOISE_STD
            condition = float(s.max() / s.min().clamp_min(1e-300))
            found.append(Quality(width, condition, inner_steps, form, error, residual))
    return found


def _modes(prior: GaussianMixtureDenoiser, operator: LinearOperator, y: Tensor) -> Tensor:
    return prior.posterior(operator, y[None], NOISE_STD).modes().flatten(1)


def _nearest(image: Tensor, modes: Tensor) -> float:
    """RMS difference of an image to the nearest mode."""
    distance = torch.cdist(image.double().reshape(1, -1), modes).min()
    return float(distance) / image.numel() ** 0.5


def costs(sides: Sequence[int] = SIDES, *, width: float = 1.0, repeats: int = 5) -> list[Cost]:
    """What a decomposition costs and gains: separable blurs, and the same as a dense matrix.

    Args:
        sides: of the images; the dense matrix stops at `DENSE_LIMIT`.
        width: of the blur.
        repeats: of which the median is taken.
    """
    found = []
    for side in sides:
        image = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0))
        found.append(_cost("separable blur", partial(blur, side, width), image, repeats))
        if side <= DENSE_LIMIT:
            make = partial(MatrixOperator, _dense(blur(side, width)), (1, side, side))
            found.append(_cost("dense matrix", make, image, repeats))
    return found


def _dense(operator: LinearOperator) -> Tensor:
    n = operator.image_shape[1] ** 2
    unit = torch.eye(n).reshape(n, *operator.image_shape)
    return operator.forward(unit).reshape(n, n).T.contiguous()


def _cost(name: str, make: Callable[[], LinearOperator], image: Tensor, repeats: int) -> Cost:
    def prepared() -> LinearOperator:
        operator = make()
        operator.pseudo_inverse(operator.forward(image))
        return operator

    operator = prepared()
    y = operator.forward(image)
    plain = without_decomposition(operator)
    apply = _seconds(lambda: operator.pseudo_inverse(y), repeats)
    setup = max(_seconds(prepared, repeats) - apply, 0.0)
    return Cost(
        image.shape[-1], name, setup, apply, _seconds(lambda: plain.pseudo_inverse(y), repeats)
    )


def _seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median CPU time."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def scaling_figure(found: Sequence[Quality], spent: Sequence[Cost]) -> Figure:
    """Error against the condition number for each K, and when a decomposition has paid."""
    counts = sorted({one.inner_steps for one in found})
    title = (
        "Blurs of growing width: the noise-aware form holds at every condition, and needs no SVD"
    )
    figure = new_figure(3.5 * (len(counts) + 1), 3.2, title)
    *errors, cost = figure.subplots(1, len(counts) + 1)
    for axes, inner_steps in zip(errors, counts, strict=True):
        _draw_errors(axes, [one for one in found if one.inner_steps == inner_steps])
        axes.set_title(f"{inner_steps} steps per noise level", fontsize=8, color=INK, loc="left")
        axes.set_ylim(min(one.error for one in found) / 1.5, max(one.error for one in found) * 1.5)
    _draw_costs(cost, spent)
    return figure


def _draw_errors(axes: Axes, found: Sequence[Quality]) -> None:
    for form in FORMS:
        ones = [one for one in found if one.form == form]
        by_cg = form.endswith("CG")
        axes.plot(
            [one.condition for one in ones], [one.error for one in ones], "s" if by_cg else "o-",
            color=COLORS[form], ms=7 if by_cg else 4, lw=1.2, label=form,
            fillstyle="none" if by_cg else "full",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    _label(axes, "condition number of H", "RMS distance to the nearest posterior mode")
    widths = axes.secondary_xaxis("top")
    ones = [one for one in found if one.form == "none"]
    widths.set_xticks([one.condition for one in ones], [f"{one.width:g}" for one in ones])
    widths.tick_params(labelsize=6, colors=MUTED, length=2)
    widths.minorticks_off()
    widths.set_xlabel("blur, standard deviation in pixels", fontsize=6, color=MUTED, labelpad=1)
    widths.spines["top"].set_visible(False)
    axes.legend(fontsize=6.5, frameon=False, loc="upper left")


def _draw_costs(axes: Axes, spent: Sequence[Cost]) -> None:
    for name, style, color in (("separable blur", "o-", ACCENT), ("dense matrix", "^-", "#d97706")):
        ones = [one for one in spent if one.operator == name]
        values = [min(max(one.pays_after, 1e-3), 1e3) for one in ones]
        axes.plot([one.side for one in ones], values, style, color=color, ms=4, lw=1.2, label=name)
        for one, value in zip(ones, values, strict=True):
            text = f"{one.pays_after:.2g}" if value < 1e3 else "never"
            axes.annotate(
                text, (one.side, value), fontsize=6.5, color=color, xytext=(0, 5),
                textcoords="offset points", ha="center",
            )  # fmt: skip
    axes.axhline(1.0, color=MUTED, lw=0.7, ls=":")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.margins(0.15)
    axes.set_title("Computing H⁺y", fontsize=8, color=INK, loc="left")
    words = "applications after which the SVD\nis cheaper than conjugate gradients"
    _label(axes, "pixels per side, one channel", words)
    axes.legend(fontsize=6.5, frameon=False)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=7, color=INK)
    axes.set_ylabel(y, fontsize=7, color=INK)
    axes.tick_params(which="both", labelsize=6.5, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
