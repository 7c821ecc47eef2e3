"""VML-MAP: mode seeking on the variational mode-seeking loss (arXiv 2512.10524)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.arrays import Array
from vml_fast.checks import check_count, check_flag, check_number
from vml_fast.denoisers.latent import LatentDenoiser
from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator
from vml_fast.preconditioners import check_preconditioner, check_prior_weight
from vml_fast.runtime.choose import Job, Wish, check_wish, choose
from vml_fast.runtime.eager import EagerRunner
from vml_fast.runtime.jacobian import check_jacobian
from vml_fast.runtime.problem import Problem
from vml_fast.runtime.runners import take_runner
from vml_fast.runtime.traces import TracesRunner, check_traces
from vml_fast.solvers.base import Solver
from vml_fast.solvers.run import Run


class VMLMAP(Solver):
    """Restores images by gradient descent on the VML loss at N noise levels, K steps each.

    At every level sigma_1 > ... > sigma_N:

        repeat K times: x <- x + J^T V( alpha (U^T y - s V^T D) + beta V^T (D - x) )
        x ~ N( D(x, sigma_i), sigma_{i+1}^2 I )

    with alpha and beta as in `vml_fast.preconditioners`. Levels with sigma_i <= stop_sigma are not
    optimized; from the last optimized one on, the transition is DDIM's
    x <- D + (sigma_{i+1} / sigma_i)(x - D).

    Args:
        denoiser: D(x, sigma) in variance-exploding coordinates, any callable.
        operator: H.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), in [0, 1e6].
        steps: N, at least 1; ignored when `schedule` is given.
        inner_steps: K, at least 0.
        schedule: (N,) noise levels, strictly decreasing; by default EDM's, clipped to the range
            of the denoiser.
        preconditioner: None, "auto" (pseudo-inverse up to sigma_y = 1e-4, else noise-aware),
            "pseudo_inverse" or "noise_aware".
        prior_weight: pull towards the denoised image on the null space of H, preconditioned forms
            only, in [0, 1]: 0 keeps sample-like detail, 1 gives the smooth mode, "auto" follows
            sigma_y.
        step_size: dimensionless multiplier of the stable step, above 0.
        stop_sigma: tau, one number or (B,); None optimizes every level.
        jacobian: "vjp" (exact), "jvp" or "finite_difference" (both use that J is symmetric).
        backend: of the fused ops: "auto" (the fastest measured one that runs here), "reference",
            "cpp", "triton" or "cuda".
        traces: what becomes of the loss's two trace terms, whose gradients take second derivatives
            of D: "drop", as the paper does; "hutchinson" or "hutch++", estimated with fresh probes
            in every step; "exact", from all rows of J, for images of at most 4096 entries. A
            preconditioner weights them as it weights the step: x loses the gradient of
            Tr( V (alpha s - beta) V^T Cov ) / 2. Not with `compile` or `cuda_graph`, and their
            memory is not counted by `solve(max_batch="auto")`.
        trace_probes: vectors of an estimate, at least 1; a multiple of 3 for "hutch++".
        final_projection: replace x by x + H^+(y - H x) at the end (sensible without noise only).
        compile: the network by `torch.compile`: True, False, or "auto" where that is known to pay.
        cuda_graph: record the inner step as one CUDA graph and replay it; likewise.

    Raises:
        InputError: an argument is outside its range.
        BackendUnavailable: (by `solve`) `backend` names one that cannot run here, or `compile` or
            `cuda_graph` is True and cannot be; the message says why.
    """

    _latent_form: ClassVar[type[VMLMAP] | None] = None

    def __init_subclass__(cls) -> None:
        """The form for latent priors names itself, so that this module need not import it."""
        super().__init_subclass__()
        if cls.on_latents:
            VMLMAP._latent_form = cls

    def __new__(
        cls, denoiser: Callable[..., Tensor] | None = None, *_: Any, **options: Any
    ) -> VMLMAP:
        """A `LatentVMLMAP` for a latent prior: the same method, whose state lives on latents."""
        if (
            cls is not VMLMAP
            or cls._latent_form is None
            or not isinstance(denoiser, LatentDenoiser)
        ):
            return super().__new__(cls)
        known = signature(cls._latent_form).parameters
        for name in options:
            if name not in known:
                raise InputError(f"{name} is no option of VML-MAP with a latent prior.")
        return super().__new__(cls._latent_form)

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        operator: LinearOperator,
        *,
        noise_std: float | Array = 0.0,
        steps: int = 20,
        inner_steps: int = 10,
        schedule: Array | Sequence[float] | None = None,
        preconditioner: str | None = "auto",
        prior_weight: float | str = "auto",
        step_size: float = 1.0,
        stop_sigma: float | Array | None = None,
        jacobian: str = "vjp",
        backend: str = "auto",
        traces: str = "drop",
        trace_probes: int = 3,
        final_projection: bool = False,
        compile: Wish = "auto",
        cuda_graph: Wish = "auto",
    ) -> None:
        super().__init__(
            denoiser,
            operator,
            noise_std=noise_std,
            steps=steps,
            schedule=schedule,
            backend=backend,
        )
        self.inner_steps = check_count("inner_steps", inner_steps, 0)
        self.preconditioner = check_preconditioner(preconditioner)
        self.prior_weight = check_prior_weight(prior_weight)
        self.step_size = check_number("step_size", step_size, 0, float("inf"), low_open=True)
        self.stop_sigma = stop_sigma
        self.jacobian = check_jacobian(jacobian)
        self.final_projection = check_flag("final_projection", final_projection)
        self.compile = check_wish("compile", compile)
        self.cuda_graph = check_wish("cuda_graph", cuda_graph)
        check_traces(traces, trace_probes, denoiser, prod(operator.image_shape))
        for name, wish in (("compile", compile), ("cuda_graph", cuda_graph)):
            if traces != "drop" and wish is True:
                raise InputError(
                    f"{name} is True; with traces={traces!r} it must be False or 'auto'."
                )
        self.traces, self.trace_probes = traces, trace_probes

    def _restore(self, run: Run) -> tuple[Tensor, int, int]:
        levels = self.schedule
        tau = run.per_sample("stop_sigma", 0.0 if self.stop_sigma is None else self.stop_sigma)
        steps = self.inner_steps * int((levels > tau.min()).sum())
        run.expect(steps)
        with self._runner(run, steps) as runner:
            for i, sigma in enumerate(levels):
                with trace.range("level"):
                    active = sigma > tau
                    runner.set_level(self._level(sigma, active, run))
                    runner.prepare()
                    for _ in range(self.inner_steps if bool(active.any()) else 0):
                        runner.inner_step()
                        run.bar.update()
                    denoised = runner.denoise()
                    if not run.record(i, sigma, denoised) or i + 1 == len(levels):
                        break
                    # x ~ N(D, sigma_{i+1}^2 I), or DDIM for samples that are not optimized next
                    ddim = levels[i + 1] <= tau
                    ratio = torch.where(ddim, levels[i + 1] / sigma, 0.0)
                    fresh = torch.where(ddim, 0.0, levels[i + 1])
                    runner.transition(denoised, ratio, fresh, run.noise, draw=i + 1)
        run.warmup_seconds = runner.warmup_seconds
        if self.final_projection:
            error = run.y - run.operator.forward(denoised)
            denoised = denoised + run.operator.pseudo_inverse(error)
        return denoised, runner.forwards, runner.products

    @contextmanager
    def _runner(self, run: Run, steps: int) -> Iterator[EagerRunner]:
        problem = Problem(
            run.operator,
            run.y,
            run.noise_std,
            self.preconditioner,
            self.prior_weight,
            self.step_size,
            self.backend,
        )
        x = run.start(self.schedule[0])
        if self.traces != "drop":
            yield TracesRunner(
                self.denoiser, problem, x, self.jacobian, self.traces, self.trace_probes,
                run.noise, run.condition,
            )  # fmt: skip
            return
        job = Job(self.denoiser, problem, x, self.jacobian, run.condition, steps)
        with take_runner(job, choose(job, self.compile, self.cuda_graph)) as runner:
            runner.announce = run.announce
            yield runner


# The options of the class are those of its initializer, for `help` and for `inspect`.
setattr(VMLMAP.__new__, "__signature__", signature(VMLMAP.__init__))  # noqa: B010
