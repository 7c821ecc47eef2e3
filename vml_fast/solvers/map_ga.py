"""MAP-GA: MAP estimation by gradient ascent through a consistency model (arXiv 2407.20784)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.arrays import Array
from vml_fast.checks import check_count, check_flag, check_number
from vml_fast.operators.base import LinearOperator
from vml_fast.runtime.ascent import Ascent
from vml_fast.runtime.choose import Job, Wish, check_wish, choose
from vml_fast.runtime.eager import EagerRunner
from vml_fast.runtime.inverse import regularized_inverse, squared_norms
from vml_fast.runtime.problem import column
from vml_fast.runtime.runners import take_runner
from vml_fast.runtime.sampling import Sampling
from vml_fast.schedules import SIGMA_MAX, SIGMA_MIN, edm_schedule
from vml_fast.solvers.base import Solver
from vml_fast.solvers.checks import check_denoiser, check_image_shape
from vml_fast.solvers.run import Run


class MAPGA(Solver):
    """Restores images by gradient ascent on log p(C(z, sigma) | y) at N noise levels, K steps each.

    C maps a noisy z to the image at the end of its probability-flow ODE, at the small noise level
    sigma_eps: a consistency model, or the denoiser in its place (variant D). Algorithm 2 of the
    paper, at every level sigma_N > ... > sigma_1, with sigma_0 = sigma_eps:

        repeat K times: x = C(z, sigma_i),  z <- z + lambda (dC/dz)^T g
            g = H^T ( sigma_y^2 I + sigma_eps^2 H H^T )^-1 ( y - H x )
                + ( D(x, sigma_eps) - x ) / sigma_eps^2
        z ~ N( C(z, sigma_i), (sigma_{i-1}^2 - sigma_0^2) I )

    whose last g-term, the prior, the NP variants leave out. Samples with sigma_y > sigma_eps take
    Algorithm 3: no prior, sigma_0 = sigma_y, and from there `pigdm_steps` levels down to sigma_eps,

        z ~ N( D(z, sigma_i) + sigma_i^2 grad log p(y | x_i), (sigma_{i-1}^2 - sigma_eps^2) I )

    with p(x0 | x_i) = N(D, sigma_i^2 I) in the likelihood's gradient (PiGDM with r_t = sigma_t).

    lambda is sigma_eps^2 + sigma_y^2 / s_max^2: the paper's sigma_y^2 + sigma_eps^2 without noise
    and for its noisy tasks, which have s_max = 1, and elsewhere the same method in other units of
    y. With a prior it stays below the bound of stability, 2 / (1 / sigma_eps^2 + s_max^2 /
    (sigma_y^2 + s_max^2 sigma_eps^2)), which without noise is the paper's value again.

    Args:
        denoiser: D(x, sigma) in variance-exploding coordinates, any callable.
        operator: H; conjugate gradients stand in for a missing SVD.
        consistency: C(x, sigma), any callable; None takes the denoiser (D).
        use_prior: whether g holds the prior; False is NP.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), in [0, 1e6].
        steps: N, at least 1; ignored when `schedule` is given. The paper splits N K = 1000.
        inner_steps: K, at least 0.
        schedule: (N,) noise levels, strictly decreasing; levels below sigma_0 count as sigma_0.
            By default EDM's N + 1 levels that end at sigma_0, without that last one.
        pigdm_steps: levels of Algorithm 3 below sigma_y; 0 runs Algorithm 2 on noisy data too.
        step_size: dimensionless multiplier of lambda, above 0.
        sigma_eps: noise level of the images, above 0; by default .002, or the larger smallest
            level of the networks.
        backend: of the fused ops: "auto", "reference", "cpp", "triton" or "cuda".
        compile: C and D by `torch.compile`: True, False, or "auto" where that is known to pay.
        cuda_graph: record the inner step as one CUDA graph and replay it; likewise.

    Raises:
        InputError: an argument is outside its range.
        BackendUnavailable: (by `solve`) `backend` names one that cannot run here, or `compile` or
            `cuda_graph` is True and cannot be; the message says why.
    """

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        operator: LinearOperator,
        *,
        consistency: Callable[..., Tensor] | None = None,
        use_prior: bool = True,
        noise_std: float | Array = 0.0,
        steps: int = 20,
        inner_steps: int = 50,
        schedule: Array | Sequence[float] | None = None,
        pigdm_steps: int = 20,
        step_size: float = 1.0,
        sigma_eps: float | None = None,
        backend: str = "auto",
        compile: Wish = "auto",
        cuda_graph: Wish = "auto",
    ) -> None:
        self.consistency = denoiser if consistency is None else consistency
        check_denoiser(self.consistency, "consistency", "C")
        networks = (denoiser, self.consistency)
        least = max(getattr(network, "sigma_min", SIGMA_MIN) for network in networks)
        self.sigma_eps = check_number(
            "sigma_eps", max(least, SIGMA_MIN) if sigma_eps is None else sigma_eps, 0, 1,
            low_open=True,
        )  # fmt: skip
        super().__init__(
            denoiser,
            operator,
            noise_std=noise_std,
            steps=steps,
            schedule=schedule,
            backend=backend,
        )
        check_image_shape(self.consistency, operator)
        self.use_prior = check_flag("use_prior", use_prior)
        self.inner_steps = check_count("inner_steps", inner_steps, 0)
        self.pigdm_steps = check_count("pigdm_steps", pigdm_steps, 0)
        self.step_size = check_number("step_size", step_size, 0, float("inf"), low_open=True)
        self.own_levels = schedule is None
        self.compile = check_wish("compile", compile)
        self.cuda_graph = check_wish("cuda_graph", cuda_graph)

    def _default_levels(self, sigma_min: float, sigma_max: float) -> Tensor:
        top = min(SIGMA_MAX, sigma_max, getattr(self.consistency, "sigma_max", SIGMA_MAX))
        return edm_schedule(self.steps + 1, sigma_min=self.sigma_eps, sigma_max=top)[:-1]

    def _differentiated(self) -> Callable[..., Tensor]:
        return self.consistency

    def _restore(self, run: Run) -> tuple[Tensor, int, int]:
        noisy = (run.noise_std > self.sigma_eps) & (self.pigdm_steps > 0)
        # A first level below sigma_y leaves nothing between them, and never less than sigma_eps.
        top = max(float(self.schedule[0]), self.sigma_eps)
        bottom = torch.where(noisy, run.noise_std, self.sigma_eps).clamp_max(top)
        levels, everybody = self._grid(bottom), torch.ones_like(bottom)
        tail = self.pigdm_steps if bool(noisy.any()) else 0
        run.expect(self.inner_steps * len(self.schedule) + tail)
        with self._runner(run, noisy, run.start(levels[0, 0])) as runner:
            for i, (sigma, following) in enumerate(pairwise(levels)):
                with trace.range("level"):
                    runner.set_level(self._level(sigma, everybody, run))
                    runner.prepare()
                    for _ in range(self.inner_steps):
                        runner.inner_step()  # z <- z + lambda (dC/dz)^T g
                        run.bar.update()
                    x = runner.denoise()
                    if not run.record(i, sigma.max(), x):
                        return x, runner.forwards, runner.products
                    spread = (following**2 - bottom**2).clamp_min(0).sqrt()
                    runner.transition(x, 0.0 * spread, spread, run.noise, draw=i + 1)
            z = runner.x.clone()
        sampling = self._sampling(run)
        if tail:
            z = self._descend(z, bottom, noisy, run, sampling)
        return z, runner.forwards + sampling.forwards, runner.products + sampling.products

    @contextmanager
    def _runner(self, run: Run, noisy: Tensor, z: Tensor) -> Iterator[EagerRunner]:
        with_prior = ~noisy & self.use_prior
        problem = Ascent(
            run.operator,
            run.y,
            run.noise_std,
            preconditioner="noise_aware",
            prior_weight=0.0,
            step_size=self.step_size,
            backend=self.backend,
            sigma_eps=self.sigma_eps,
            rate=self._rate(run, with_prior),
            prior=with_prior.double() if bool(with_prior.any()) else None,
            condition=run.condition,
        )
        prior = None if problem.prior is None else self.denoiser
        steps = self.inner_steps * len(self.schedule)
        job = Job(self.consistency, problem, z, "vjp", run.condition, steps, prior)
        with take_runner(job, choose(job, self.compile, self.cuda_graph)) as runner:
            runner.announce = run.announce
            yield runner

    def _rate(self, run: Run, with_prior: Tensor) -> Tensor:
        """Lambda of each sample, (B,) float64."""
        eps2, noise2 = self.sigma_eps**2, run.noise_std**2
        norm2 = squared_norms(run.operator, run.y.device).cpu()
        rate = eps2 + noise2 / norm2
        bound = 2.0 / (1.0 / eps2 + norm2 / (noise2 + norm2 * eps2))
        return torch.where(with_prior, rate.minimum(bound), rate)

    def _grid(self, bottom: Tensor) -> Tensor:
        """sigma_N, ..., sigma_0 of each sample, (N + 1, B)."""
        if not self.own_levels:
            return torch.maximum(torch.cat([self.schedule, bottom.new_zeros(1)])[:, None], bottom)
        return _edm_levels(self.schedule[0].expand_as(bottom), bottom, len(self.schedule) + 1)

    def _descend(
        self, z: Tensor, top: Tensor, noisy: Tensor, run: Run, sampling: Sampling
    ) -> Tensor:
        """Algorithm 3's PiGDM levels from sigma_y to sigma_eps, for the noisy samples."""
        chosen = column(noisy, z) > 0
        bottom = torch.full_like(top, self.sigma_eps)
        levels = _edm_levels(top, bottom, self.pigdm_steps + 1)
        for j, (sigma, following) in enumerate(pairwise(levels)):
            level = len(self.schedule) + j
            denoised, product = sampling.linearize(self.denoiser, z, sigma)
            denoised = torch.where(chosen, denoised, z)
            run.bar.update()
            if not run.record(level, sigma.max(), denoised):
                return denoised
            inverse = regularized_inverse(run.operator, (run.noise_std / sigma) ** 2, run.y)
            mean = denoised + product(inverse(run.y - run.operator.forward(denoised)))
            spread = (following**2 - bottom**2).clamp_min(0).sqrt()
            z = torch.where(chosen, sampling.diffuse(mean, spread, draw=level + 1), z)
        return z


def _edm_levels(top: Tensor, bottom: Tensor, count: int) -> Tensor:
    """EDM's levels from `top` to `bottom` of each sample, (count, B)."""
    ends = zip(top.tolist(), bottom.tolist(), strict=True)
    return torch.stack([edm_schedule(count, sigma_min=b, sigma_max=t) for t, b in ends], dim=1)
