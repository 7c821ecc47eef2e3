"""Study: the preconditioner as blurs grow wider, and when a decomposition stops paying."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.evaluation.studies.priors import smooth_prior
from vml_fast.operators import LinearMap, LinearOperator, MatrixOperator, SeparableBlur
from vml_fast.operators.kernels import gaussian_kernel
from vml_fast.solvers import VMLMAP

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
