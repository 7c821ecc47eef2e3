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
SIDES = (16, 32, 64, 128)
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
        form: a key of `FORMS`.
        error: RMS difference of a result to the exact posterior's nearest mode, median over the
            images.
        residual: RMS of H x - y over sigma_y, likewise.
    """

    width: float
    condition: float
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
            found.append(Quality(width, condition, form, error, residual))
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
        sides: of the images; the dense matrix stops at 32, where it has a million entries.
        width: of the blur.
        repeats: of which the median is taken.
    """
    found = []
    for side in sides:
        image = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0))
        found.append(_cost("separable blur", partial(blur, side, width), image, repeats))
        if side <= 32:
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
    """Error and residual against the blur's width, and set-up against the cost of a step."""
    title = "Blurs of growing width: what each preconditioner reaches, and what its H⁺ costs"
    figure = new_figure(10.2, 3.2, title)
    error, residual, cost = figure.subplots(1, 3)
    for form in FORMS:
        ones = [one for one in found if one.form == form]
        widths = [one.width for one in ones]
        style = {"color": COLORS[form], "ms": 4, "lw": 1.2, "label": form}
        line = "s--" if form.endswith("CG") else "o-"
        error.plot(widths, [one.error for one in ones], line, **style)
        residual.plot(widths, [one.residual for one in ones], line, **style)
    for one in [one for one in found if one.form == "none"]:
        error.annotate(
            f"κ {one.condition:.0e}", (one.width, one.error), fontsize=6, color=MUTED,
            xytext=(0, 5), textcoords="offset points", ha="center",
        )  # fmt: skip
    _label(
        error, "blur, standard deviation in pixels", "RMS distance to the nearest posterior mode"
    )
    _label(residual, "blur, standard deviation in pixels", "residual / σ_y")
    residual.axhline(1.0, color=MUTED, lw=0.7, ls=":")
    for axes in (error, residual):
        axes.set_yscale("log")
    error.legend(fontsize=6.5, frameon=False)
    _draw_costs(cost, spent)
    return figure


def _draw_costs(axes: Axes, spent: Sequence[Cost]) -> None:
    for name, marker in (("separable blur", "o"), ("dense matrix", "^")):
        ones = [one for one in spent if one.operator == name]
        sides = [one.side for one in ones]
        for what, color in (("setup", "#d97706"), ("apply", ACCENT), ("by_cg", "#059669")):
            words = {"setup": "set-up of the SVD", "apply": "H⁺y by SVD", "by_cg": "H⁺y by CG"}
            values = [1e3 * max(getattr(one, what), 1e-6) for one in ones]
            line = "-" if marker == "o" else "--"
            label = f"{words[what]}, {name}"
            axes.plot(sides, values, marker + line, color=color, ms=4, lw=1.1, label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    _label(axes, "pixels per side, one channel", "CPU milliseconds")
    axes.legend(fontsize=5.5, frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.58))


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=7, color=INK)
    axes.set_ylabel(y, fontsize=7, color=INK)
    axes.tick_params(which="both", labelsize=6.5, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
