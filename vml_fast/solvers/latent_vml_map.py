"""VML-MAP on the latents of an autoencoder (arXiv 2512.10524, appendix D.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vml_fast import trace
from vml_fast.arrays import Array
from vml_fast.checks import check_count
from vml_fast.denoisers.latent import LatentDenoiser, checked_std
from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator
from vml_fast.preconditioners import AUTO_NOISE_LIMIT
from vml_fast.runtime.inverse import regularized_inverse
from vml_fast.runtime.latent import GaussNewtonTerm, GradientTerm, LatentTerm, ReencodingTerm
from vml_fast.runtime.problem import column
from vml_fast.runtime.sampling import Sampling, ddim
from vml_fast.solvers.run import Run
from vml_fast.solvers.vml_map import VMLMAP

TERMS: dict[str | None, type[LatentTerm]] = {
    None: GradientTerm,
    "gauss_newton": GaussNewtonTerm,
    "reencode": ReencodingTerm,
}
"""What `preconditioner` may be; "auto" is `AUTO`."""
AUTO = "gauss_newton"
AUTO_ERROR = 0.25
"""Share of the prior's autoencoder_std that the steps take for noise of the data.

All of it is the error of Dec(Enc(x)), but there are latents that fit better than the encoder's. On
4 held-out emoji that are not among those of the study, shares of 0, 1/4, 1/2 and 1 gave ST-LPIPS
.061, .069, .078 and .097 for 4x super-resolution; for deblurring 1/4 gave .019."""


class LatentVMLMAP(VMLMAP):
    """VML-MAP where the noise lives on latents z, and H sees the decoded image.

    At every level sigma_1 > ... > sigma_N of the latents, with D = D(z, sigma_i), J = dD/dz and
    r = y - H Dec(D):

        repeat K times: z <- z + J^T v,   v from r and D - z by `preconditioner`
        z ~ N( D(z, sigma_i), sigma_{i+1}^2 I )

    and the result is Dec(D) after the last level, corrected in image space (`final_projection`).
    `VMLMAP` with a `LatentDenoiser` makes this class.

    Args:
        denoiser: the latent prior.
        operator: H, on images.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), in [0, 1e6].
        steps: N, at least 1; ignored when `schedule` is given.
        inner_steps: K, at least 0.
        schedule: (N,) noise levels of the latents, strictly decreasing; by default EDM's, clipped
            to the range of the denoiser.
        preconditioner: how v is made: None, the plain gradient with a stable step size;
            "gauss_newton", damped and by conjugate gradients; "reencode", by encoding the image
            after its correction in image space; "auto" is "gauss_newton". The formulas are those of
            `vml_fast.runtime.latent`.
        prior_weight: of D - z in v, in [0, 1]; 1 is the loss's own, "auto" lets it rise as the
            noise level falls below the error of the data.
        step_size: dimensionless multiplier of v, above 0.
        stop_sigma: tau, of the latents, one number or (B,); None optimizes every level.
        autoencoder_std: what the autoencoder cannot represent, as noise of the data, in units of
            the images; "auto" is a quarter of the prior's own value (`AUTO_ERROR`) in the steps, 0
            for the plain gradient, and all of it in the final projection.
        cg_steps: of "gauss_newton", at least 1; each takes two passes of the decoder.
        final_projection: whether the result is x + H^T (H H^T + (sigma_y / sigma_e)^2 I)^-1
            (y - H x) for x = Dec(D), with sigma_e the error of the autoencoder: x + H^+ (y - H x)
            up to a noise of 1e-4, and x itself for noisy samples where sigma_e is 0. "auto" does
            it for the samples without noise.
        backend: of the op that adds noise: "auto", "reference", "cpp", "triton" or "cuda".

    Raises:
        InputError: an argument is outside its range.
        BackendUnavailable: `backend` names one that cannot run here (raised by `solve`).
    """

    on_latents = True

    def __init__(
        self,
        denoiser: LatentDenoiser,
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
        autoencoder_std: float | str = "auto",
        cg_steps: int = 3,
        final_projection: bool | str = "auto",
        backend: str = "auto",
    ) -> None:
        if not isinstance(denoiser, LatentDenoiser):
            raise InputError(
                f"denoiser is a {type(denoiser).__name__}; latent VML-MAP needs a LatentDenoiser."
            )
        super().__init__(
            denoiser,
            operator,
            noise_std=noise_std,
            steps=steps,
            inner_steps=inner_steps,
            schedule=schedule,
            preconditioner=None,
            prior_weight=prior_weight,
            step_size=step_size,
            stop_sigma=stop_sigma,
            backend=backend,
        )
        self.denoiser: LatentDenoiser = denoiser
        self.preconditioner = _checked_term(preconditioner)
        self.cg_steps = check_count("cg_steps", cg_steps, 1)
        self.projection_std = denoiser.autoencoder_std
        if isinstance(autoencoder_std, str) and autoencoder_std == "auto":
            share = 0.0 if self.preconditioner is None else AUTO_ERROR
            self.autoencoder_std = share * denoiser.autoencoder_std
        else:
            self.autoencoder_std = self.projection_std = checked_std(autoencoder_std)
        if final_projection not in (True, False, "auto"):
            raise InputError(
                f"final_projection is {final_projection!r}; it must be 'auto', True or False."
            )
        self.final_projection = final_projection  # type: ignore[assignment]
        self._round_trip = _round_trip(denoiser)

    def _restore(self, run: Run) -> tuple[Tensor, int, int]:
        levels = self.schedule
        tau = run.per_sample("stop_sigma", 0.0 if self.stop_sigma is None else self.stop_sigma)
        run.expect(self.inner_steps * int((levels > tau.min()).sum()))
        sampling = Sampling(run.noise, condition=run.condition, backend=self.backend)
        term = self._term(run)
        z = run.start(levels[0])
        for i, sigma in enumerate(levels):
            with trace.range("level"):
                step = column((sigma > tau) * self.step_size, z)
                for k in range(self.inner_steps if bool((sigma > tau).any()) else 0):
                    denoised, product = sampling.linearize(self.denoiser, z, sigma)
                    if k == 0:
                        term.set_level(sigma, denoised)
                    z = z + step * product(term(denoised, z))
                    run.bar.update()
                denoised = sampling.denoise(self.denoiser, z, sigma)
                image = term.decode(denoised)
                if not run.record(i, sigma, image) or i + 1 == len(levels):
                    break
                # z ~ N(D, sigma_{i+1}^2 I), or DDIM for samples that are not optimized next
                following = levels[i + 1]
                tail = column(following <= tau, z) > 0
                ahead = ddim(z, denoised, sigma, following, eta=0.0)[0]
                fresh = torch.where(following <= tau, 0.0, following)
                z = sampling.diffuse(torch.where(tail, ahead, denoised), fresh, draw=i + 1)
        run.autoencoder_calls = term.calls
        return self._projected(image, run), sampling.forwards, sampling.products

    def _term(self, run: Run) -> LatentTerm:
        term = TERMS[self.preconditioner](
            self.denoiser,
            run.operator,
            run.y,
            run.noise_std,
            autoencoder_std=self.autoencoder_std,
            prior_weight=self.prior_weight,
        )
        if isinstance(term, GaussNewtonTerm):
            term.cg_steps = self.cg_steps
        return term

    def _projected(self, image: Tensor, run: Run) -> Tensor:
        """The image moved to the data, as far as the autoencoder's error allows."""
        if self.final_projection is False:
            return image
        if self.final_projection is True:
            return project(image, run.operator, run.y, run.noise_std, self.projection_std)
        noiseless = run.noise_std <= AUTO_NOISE_LIMIT
        if not bool(noiseless.any()):
            return image
        moved = project(image, run.operator, run.y, run.noise_std, self.projection_std)
        return torch.where(column(noiseless, image) > 0, moved, image)

    def _state_shape(self, operator: LinearOperator) -> tuple[int, int, int]:
        return self.denoiser.latent_shape

    def _differentiated(self) -> Callable[..., Tensor]:
        return self._round_trip


def project(
    image: Tensor, operator: LinearOperator, y: Tensor, noise_std: Tensor, error: float
) -> Tensor:
    """x + H^T (H H^T + (sigma_y / sigma_e)^2 I)^-1 (y - H x).

    Args:
        image: x, (B, C, H, W).
        operator: H.
        y: (B, *measurement_shape).
        noise_std: sigma_y, (B,) float64; up to `AUTO_NOISE_LIMIT` it counts as 0.
        error: sigma_e, at least 0; with 0 the noisy samples stay where they are.
    """
    noisy = noise_std > AUTO_NOISE_LIMIT
    ratio = (noise_std / error) ** 2 if error > 0 else torch.zeros_like(noise_std)
    correct = regularized_inverse(operator, torch.where(noisy, ratio, 0.0), y)
    moved = image + correct(y - operator.forward(image))
    left = column(noisy & (error == 0), image) > 0
    return torch.where(left, image, moved)


def _round_trip(prior: LatentDenoiser) -> Callable[..., Tensor]:
    """Latents to latents through everything: takes at least the memory of a step."""

    def through(z: Tensor, sigma: Tensor, **condition: Any) -> Tensor:
        return prior.encode(prior.decode(prior(z, sigma, **condition)))

    return through


def _checked_term(name: str | None) -> str | None:
    chosen = AUTO if isinstance(name, str) and name == "auto" else name
    if chosen is not None and (not isinstance(chosen, str) or chosen not in TERMS):
        raise InputError(
            f"preconditioner is {name!r}; for a latent prior it must be None, 'auto', "
            "'gauss_newton' or 'reencode'."
        )
    return chosen
