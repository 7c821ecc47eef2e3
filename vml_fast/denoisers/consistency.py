"""Consistency models (Song et al. 2023, arXiv 2303.01469), of the same form as a denoiser."""

from __future__ import annotations

from torch import Tensor

from vml_fast.denoisers.base import Scalings
from vml_fast.denoisers.edm import EDMDenoiser, edm_scalings


def consistency_scalings(
    sigma: Tensor, sigma_data: float = 0.5, sigma_min: float = 0.002, noise_scale: float = 1.0
) -> Scalings:
    """The coefficients of Song et al. 2023, Appendix C; the training loss uses the same ones.

    They are EDM's with ``sigma - sigma_min`` in place of sigma in the first two, so that
    ``C(x; sigma_min) = x``. A sigma below sigma_min is taken for sigma_min there.

    Args:
        sigma: noise levels, ``(B,)``, > 0.
        sigma_data: standard deviation of the data, > 0.
        sigma_min: epsilon, the noise level of the images that the model returns, > 0.
        noise_scale: factor on ``c_noise = ln(sigma) / 4``; the authors' networks take 1000.

    Returns:
        ``c_skip = sd²/((sigma - sigma_min)² + sd²)``,
        ``c_out = (sigma - sigma_min) sd/sqrt(sigma² + sd²)``, ``c_in = 1/sqrt(sigma² + sd²)``,
        ``c_noise = noise_scale ln(sigma)/4``, each ``(B,)``.
    """
    edm = edm_scalings(sigma, sigma_data, noise_scale)
    above = (sigma - sigma_min).clamp_min(0)
    return edm._replace(
        skip=sigma_data**2 / (above.square() + sigma_data**2),
        out=above * sigma_data * edm.input,
    )


class ConsistencyDenoiser(EDMDenoiser):
    """A consistency model ``C(x; sigma)``: where the probability-flow ODE from x ends.

        C(x; sigma) = c_skip x + c_out F(c_in x; c_noise),   C(x; sigma_min) = x

    Not E[x0 | x], but a callable of the same form, so that it serves wherever a denoiser does.

    Args:
        network: ``F(u, c_noise, **condition)``; see `ScaledDenoiser`.
        image_shape: ``(C, H, W)``.
        sigma_data: standard deviation of the training images, > 0.
        sigma_min: epsilon, the noise level at which C is the identity, > 0.
        sigma_max: largest noise level of the training, > sigma_min.
        noise_scale: the network's time-step input is ``noise_scale * ln(sigma) / 4``; not 0.

    Raises:
        InputError: an argument is outside its range.
    """

    def scalings(self, sigma: Tensor) -> Scalings:
        """The coefficients at ``sigma`` ``(B,)``; see `consistency_scalings`."""
        return consistency_scalings(sigma, self.sigma_data, self.sigma_min, self.noise_scale)
