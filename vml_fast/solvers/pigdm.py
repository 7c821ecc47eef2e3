"""PiGDM: pseudoinverse-guided diffusion (Song et al., ICLR 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.arrays import Array
from vml_fast.checks import check_number
from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator
from vml_fast.runtime.choose import Wish, check_wish
from vml_fast.runtime.inverse import regularized_inverse
from vml_fast.runtime.problem import column
from vml_fast.runtime.sampling import ddim
from vml_fast.schedules import ddpm_schedule
from vml_fast.solvers.base import Solver
from vml_fast.solvers.run import Run

GUIDANCE = ("adaptive", "score")


class PiGDM(Solver):
    """Samples the posterior by DDIM, guided by p(y | x_t) with p(x0 | x_t) = N(D, r_t^2 I).

    With r_t^2 = sigma_t^2 / (1 + sigma_t^2) the guidance is (Eq. 7 of the paper, times r_t^2)

        g = J^T H^T ( H H^T + sigma_y^2 / r_t^2 I )^-1 ( y - H D ) = r_t^2 grad log p(y | x_t)

    and a step from sigma_t to s, with DDIM's k and c (`vml_fast.runtime.sampling.ddim`), is

        x <- D + k (x - D) + c n + w g

    In the variance-exploding coordinates of this package Algorithm 1 of the paper has w = 1
    ("adaptive": the score's weight times r_t^2). "score" has w = (1 - k) sigma_t^2 / r_t^2, which
    is DDIM with D + sigma_t^2 grad log p(y | x_t) in place of D: as the steps shrink it samples
    the posterior exactly if p(x0 | x_t) is what is assumed, that is, if the prior is N(m, I).

    The authors' released code starts from H^+ y with noise and has eta = 0 in its settings; here it
    is the paper's start from noise alone, and its eta = 1.

    Args:
        denoiser: D(x, sigma) in variance-exploding coordinates, any callable.
        operator: H; conjugate gradients stand in for a missing SVD.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), in [0, 1e6].
        steps: N, at least 1; ignored when `schedule` is given.
        schedule: (N,) noise levels, strictly decreasing; by default equally spaced time steps of
            DDPM's linear schedule, clipped to the range of the denoiser.
        eta: randomness of DDIM, in [0, 1].
        guidance: "adaptive" (the paper's) or "score".
        backend: of the op that adds noise: "auto", "reference", "cpp", "triton" or "cuda".
        compile: the network by `torch.compile`: True, False, or "auto" where that is known to pay.

    Raises:
        InputError: an argument is outside its range.
        BackendUnavailable: (by `solve`) `backend` names one that cannot run here, or `compile` is
            True and cannot be; the message says why.
    """

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        operator: LinearOperator,
        *,
        noise_std: float | Array = 0.0,
        steps: int = 100,
        schedule: Array | Sequence[float] | None = None,
        eta: float = 1.0,
        guidance: str = "adaptive",
        backend: str = "auto",
        compile: Wish = "auto",
    ) -> None:
        super().__init__(
            denoiser,
            operator,
            noise_std=noise_std,
            steps=steps,
            schedule=schedule,
            backend=backend,
        )
        if guidance not in GUIDANCE:
            raise InputError(f"guidance is {guidance!r}; it must be one of {', '.join(GUIDANCE)}.")
        self.eta = check_number("eta", eta, 0, 1)
        self.guidance = guidance
        self.compile = check_wish("compile", compile)

    def _default_levels(self, sigma_min: float, sigma_max: float) -> Tensor:
        return ddpm_schedule(self.steps, sigma_min=sigma_min, sigma_max=sigma_max)

    def _restore(self, run: Run) -> tuple[Tensor, int, int]:
        levels = torch.cat([self.schedule, self.schedule.new_zeros(1)])
        run.expect(len(self.schedule))
        sampling = self._sampling(run)
        x = run.start(levels[0])
        for i, (sigma, following) in enumerate(pairwise(levels)):
            with trace.range("level"):
                denoised, product = sampling.linearize(self.denoiser, x, sigma)
                if not run.record(i, sigma, denoised):
                    return denoised, sampling.forwards, sampling.products
                r2 = sigma**2 / (1.0 + sigma**2)
                inverse = regularized_inverse(run.operator, run.noise_std**2 / r2, run.y)
                g = product(inverse(run.y - run.operator.forward(denoised)))
                mean, kept, spread = ddim(x, denoised, sigma, following, self.eta)
                score = self.guidance == "score"
                weight = (1.0 - kept) * sigma**2 / r2 if score else torch.ones_like(sigma)
                x = sampling.diffuse(mean + column(weight, g) * g, spread, draw=i + 1)
                run.bar.update()
        return x, sampling.forwards, sampling.products
