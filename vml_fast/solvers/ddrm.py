"""DDRM: denoising diffusion restoration models (Kawar et al., NeurIPS 2022, arXiv 2201.11793)."""

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
from vml_fast.runtime.inverse import spectrum
from vml_fast.runtime.problem import column
from vml_fast.schedules import ddpm_schedule
from vml_fast.solvers.base import Solver
from vml_fast.solvers.run import Run


class DDRM(Solver):
    """Samples by denoising in the singular-value coordinates of H, one forward per level.

    In these coordinates write D for V^T D(x_t, sigma_t), b for the measurement Sigma^+ U^T y, and
    tau = sigma_y / s for its noise. From sigma_t to the next level sigma (Eq. 8 of the paper)

        s = 0            x <- D + sqrt(1 - eta^2) (sigma / sigma_t) (x_t - D) + eta sigma n
        sigma < tau      x <- D + sqrt(1 - eta^2) (sigma / tau) (b - D) + eta sigma n
        sigma >= tau     x <- (1 - eta_b) D + eta_b b + sqrt(sigma^2 - eta_b^2 tau^2) n

    and at the first level (Eq. 7) x = b + sqrt(sigma^2 - tau^2) n, or sigma n where s = 0. The last
    level is followed by 0, so that without noise and with eta_b = 1 the result meets the
    measurement exactly; the authors' code takes D there, since it compares 0 with 0 strictly. Where
    the first level is below tau, which the paper excludes, x starts from sigma n as where s = 0.
    Singular values that H counts as zero (its rtol) count as zero here.

    Args:
        denoiser: D(x, sigma) in variance-exploding coordinates, any callable.
        operator: H, with an SVD.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), in [0, 1e6].
        steps: N, at least 1; ignored when `schedule` is given.
        schedule: (N,) noise levels, strictly decreasing; by default equally spaced time steps of
            DDPM's linear schedule, clipped to the range of the denoiser.
        eta: fresh noise where nothing is measured, in [0, 1].
        eta_b: weight of the measurement, in [0, 1].
        backend: of the op that draws noise: "auto", "reference", "cpp", "triton" or "cuda".

    Raises:
        InputError: an argument is outside its range, or H has no SVD.
        BackendUnavailable: `backend` names one that cannot run here (raised by `solve`).
    """

    jacobian = "none"

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        operator: LinearOperator,
        *,
        noise_std: float | Array = 0.0,
        steps: int = 20,
        schedule: Array | Sequence[float] | None = None,
        eta: float = 0.85,
        eta_b: float = 1.0,
        backend: str = "auto",
    ) -> None:
        super().__init__(
            denoiser,
            operator,
            noise_std=noise_std,
            steps=steps,
            schedule=schedule,
            backend=backend,
        )
        if not operator.has_svd:
            raise InputError(
                f"operator is {operator!r}, which has no SVD; DDRM needs one, and PiGDM, DPS, "
                "DAPS, MAPGA and VMLMAP work without."
            )
        self.eta = check_number("eta", eta, 0, 1)
        self.eta_b = check_number("eta_b", eta_b, 0, 1)

    def _default_levels(self, sigma_min: float, sigma_max: float) -> Tensor:
        return ddpm_schedule(self.steps, sigma_min=sigma_min, sigma_max=sigma_max)

    def _restore(self, run: Run) -> tuple[Tensor, int, int]:
        levels = torch.cat([self.schedule, self.schedule.new_zeros(1)])
        run.expect(len(self.schedule))
        sampling = self._sampling(run)
        measured = Measured(run)
        x = measured.start(levels[0])
        for i, (sigma_t, sigma) in enumerate(pairwise(levels)):
            with trace.range("level"):
                denoised = sampling.denoise(self.denoiser, x, sigma_t)
                if not run.record(i, sigma_t, denoised):
                    return denoised, sampling.forwards, 0
                noise = sampling.diffuse(torch.zeros_like(x), levels.new_ones(1), draw=i + 1)
                kept = (1.0 - self.eta**2) ** 0.5 * sigma / sigma_t
                x = denoised + column(kept, x) * (x - denoised)
                x = x + column(self.eta * sigma, x) * noise
                x = measured.replace(x, denoised, noise, sigma, self.eta, self.eta_b)
                run.bar.update()
        return x, sampling.forwards, 0


class Measured:
    """The coordinates that y measures: b and tau, and the state's values there.

    What V leaves out of an image (an incomplete basis) is not measured, so states are made of a
    whole image, all of which is treated as if s = 0, and a replacement where s > 0.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        s, self.kept = spectrum(run.operator, run.y.device)
        inverse = torch.where(self.kept, 1.0 / torch.where(self.kept, s, 1.0), 0.0)
        sigma_y = run.noise_std.to(s.device).reshape(-1, *(1,) * (s.ndim - 1))
        self.tau = sigma_y * inverse
        self.b = inverse.to(run.y.dtype) * run.operator.spectral_measurement(run.y)

    def start(self, sigma: Tensor) -> Tensor:
        """The caller's state at the first level, or a sample of Eq. 7."""
        x = self.run.start(sigma)
        sigma = sigma.to(self.tau)
        if self.run.initial is not None:
            return x
        z = self.run.operator.spectral(x)
        shrunk = (1.0 - (self.tau / sigma) ** 2).clamp_min(0.0).sqrt().to(x.dtype)
        change = self.b + (shrunk - 1.0) * z
        return x + self._measured(change, self.tau <= sigma)

    def replace(
        self, x: Tensor, denoised: Tensor, noise: Tensor, sigma: Tensor, eta: float, eta_b: float
    ) -> Tensor:
        """The state x with its measured coordinates drawn by Eq. 8, from the same noise."""
        operator = self.run.operator
        d, n = operator.spectral(denoised), operator.spectral(noise)
        sigma = sigma.to(self.tau)
        above = sigma >= self.tau
        toward = (1.0 - eta**2) ** 0.5 * sigma / torch.where(above, 1.0, self.tau)
        weight = torch.where(above, eta_b, toward).to(x.dtype)
        spread = (sigma**2 - (eta_b * self.tau) ** 2).clamp_min(0.0).sqrt()
        spread = torch.where(above, spread, eta * sigma).to(x.dtype)
        drawn = d + weight * (self.b - d) + spread * n
        return x + self._measured(drawn - operator.spectral(x), self.kept)

    def _measured(self, change: Tensor, where: Tensor) -> Tensor:
        chosen = (where & self.kept).expand(change.shape)
        return self.run.operator.spatial(torch.where(chosen, change, 0.0))
