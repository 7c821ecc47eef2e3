"""The inner step on the full VML loss, whose two trace terms VML-MAP drops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.checks import check_count
from vml_fast.covariance_traces import (
    EXACT_LIMIT,
    TraceEstimate,
    trace_estimate,
    trace_gradient,
)
from vml_fast.denoisers.base import per_image
from vml_fast.errors import InputError
from vml_fast.runtime.bracket import general_bracket
from vml_fast.runtime.eager import EagerRunner
from vml_fast.runtime.fused import make_bracket
from vml_fast.runtime.network import Denoiser, Network
from vml_fast.runtime.noise import Noise
from vml_fast.runtime.problem import Level, Problem

FORMS = ("drop", "hutchinson", "hutch++", "exact")


def check_traces(form: str, probes: int, denoiser: Denoiser, entries: int) -> None:
    """Check that the traces can be had in a form.

    Args:
        form: of `FORMS`.
        probes: of the two estimates.
        denoiser: D.
        entries: n, of an image.

    Raises:
        InputError: another form, a number of probes that it does not take, too many entries for the
            exact traces, or a denoiser without second derivatives.
    """
    if not isinstance(form, str) or form not in FORMS:
        raise InputError(f"traces is {form!r}; it must be one of {', '.join(FORMS)}.")
    probes = check_count("trace_probes", probes, 1)
    if form == "hutch++" and probes % 3:
        raise InputError(f"trace_probes is {probes}; traces='hutch++' needs a multiple of 3.")
    if form == "exact" and entries > EXACT_LIMIT:
        raise InputError(
            f"traces is 'exact', which takes at most {EXACT_LIMIT} entries, and images have "
            f"{entries}; it must be 'hutchinson' or 'hutch++'."
        )
    if form != "drop" and getattr(denoiser, "acceleration", None) is not None:
        raise InputError(
            f"traces is {form!r} and takes second derivatives, which an accelerated denoiser does "
            "not have; load it with dtype='float32'."
        )


def products_of(form: str, probes: int, pixels: int) -> int:
    """Products with the Jacobian that the traces of a step take, those of derivatives included."""
    pairs = {"hutchinson": probes, "hutch++": 2 * (probes // 3), "exact": pixels}[form]
    sketches = probes // 3 if form == "hutch++" else 0
    return 2 * pairs + sketches


class TracesRunner(EagerRunner):
    """Inner steps that descend the loss with both traces, in eager PyTorch.

    A step takes from x what the method's takes, and

        grad_x Tr( V (alpha s - beta) V^T Cov ) / 2,     Cov = Cov[x0 | x] = sigma_t^2 J

    with the alpha and beta of the bracket: the data term and the prior term of the loss, weighted
    as the preconditioner weights them in x += J^T V( alpha r + beta p ), are expectations over
    p(x0 | x) whose variances are these traces. Without a preconditioner it is a step on VML itself.

    Args:
        denoiser: D, twice differentiable.
        problem: H, y and how the step is preconditioned.
        x: (B, C, H, W) the initial state.
        jacobian: of the step without traces: "vjp", "jvp" or "finite_difference".
        form: of `FORMS`, but "drop".
        probes: of the estimates.
        noise: whose seeds and sample indices key the probes.
        condition: keywords for the denoiser.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        problem: Problem,
        x: Tensor,
        jacobian: str,
        form: str,
        probes: int,
        noise: Noise,
        condition: Mapping[str, Any],
    ) -> None:
        self.denoiser, self.condition = denoiser, condition
        self.form, self.probes, self.noise = form, probes, noise
        self.taken = 0
        # with y = 0 the direction at x = 0, D = u is - V( alpha s - beta ) V^T u
        self.direction = general_bracket(replace(problem, y=torch.zeros_like(problem.y)))
        super().__init__(Network(denoiser, jacobian), make_bracket(problem), x, condition=condition)

    def set_level(self, level: Level) -> None:
        """Move to a noise level."""
        super().set_level(level)
        self.direction.set_level(level)
        self.sigma = level.sigma.to(self.x).expand(len(self.x))

    def metric(self, u: Tensor) -> Tensor:
        """V( alpha s - beta ) V^T u, step size included; 0 for samples that are not optimized."""
        return -self.direction.direction(torch.zeros_like(u), u)

    def step(self) -> None:
        """x <- x + J^T v - grad Tr( M Cov ) / 2, both at the former x."""
        with trace.range("traces"):
            added = trace_gradient(
                self._estimate(), self.denoiser, self.metric, self.x, self.sigma, **self.condition
            )
        super().step()
        self.x -= added
        self.u.copy_(per_image(self.coefficients[:, 1], self.x) * self.x)

    def inner_step(self) -> None:
        """One `step`, counted: per vector a product, and one with the product's derivative."""
        super().inner_step()
        self.forwards += 1
        self.products += products_of(self.form, self.probes, self.x[0].numel())
        self.taken += 1

    def _estimate(self) -> TraceEstimate:
        keys = {"seed": self.noise.seed, "sample_index": self.noise.sample}
        return trace_estimate(self.form, self.probes, **keys, draw=self.taken)
