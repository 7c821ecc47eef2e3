"""The latent data terms: how a measurement of Dec(z) moves the denoised latents.

With D the denoised latents, r = y - H Dec(D) and p = D - z, a term gives v of a step z <- z + J^T v
(J = dD/dz; method "VML-MAP in latent space", arXiv 2512.10524, appendix D.3).

What the autoencoder cannot represent, x0 = Dec(z0) + e with e ~ N(0, sigma_e^2 I), is noise of the
measurement too: y = H Dec(z0) + (H e + sigma_y n). Without it a noiseless y is fitted by latents
that no image has, which is where blurred and inconsistent results come from. The terms take it as

    R = H^T (H H^T + (sigma_y / sigma_e)^2 I)^-1,  q = sigma_e^2     where sigma_e > 0
    R = H^T,                                       q = sigma_y^2     where sigma_e = 0

(the first is the likelihood H^T cov^-1 times sigma_e^2), and weigh data against prior by q.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from vml_fast.autograd import math_attention
from vml_fast.denoisers.latent import LatentDenoiser
from vml_fast.operators.base import LinearOperator
from vml_fast.operators.cg import conjugate_gradient
from vml_fast.preconditioners import null_space_weight
from vml_fast.runtime.inverse import regularized_inverse
from vml_fast.runtime.problem import column

POWER_STEPS, LATER_POWER_STEPS = 12, 3
"""Power iterations for |Dec'^T R H Dec'|: at the first noise level, and from there on, where they
begin with the vector of the level before."""
POWER_MARGIN = 1.05
"""Power iterations end below the norm."""


class LatentTerm(ABC):
    """A data term, loaded with a measurement.

    Args:
        prior: the latent denoiser.
        operator: H.
        y: (B, *measurement_shape).
        noise_std: (B,) float64 sigma_y.
        autoencoder_std: sigma_e.
        prior_weight: of p, "auto" (q / (sigma_t^2 + q)) or a number.

    Attributes:
        calls: decodes, encodes, and products with the decoder's Jacobian so far.
    """

    def __init__(
        self,
        prior: LatentDenoiser,
        operator: LinearOperator,
        y: Tensor,
        noise_std: Tensor,
        *,
        autoencoder_std: float,
        prior_weight: float | str,
    ) -> None:
        self.prior, self.operator, self.y = prior, operator, y
        self.noise_std = noise_std.to(y.device)
        self.autoencoder_std, self.prior_weight = autoencoder_std, prior_weight
        self.calls = 0
        if autoencoder_std > 0:
            self.variance = torch.full_like(self.noise_std, autoencoder_std**2)
            self.pull = regularized_inverse(operator, (self.noise_std / autoencoder_std) ** 2, y)
        else:
            self.variance = self.noise_std**2
            self.pull = operator.adjoint

    def set_level(self, sigma: Tensor, denoised: Tensor) -> None:
        """Move to a noise level, a float64 scalar, with the denoised latents at its start."""
        self.sigma = sigma.to(self.variance)
        weight = null_space_weight(self.prior_weight, self.sigma, self.variance.sqrt())
        self.own_weight = weight * self.variance

    def decode(self, z: Tensor) -> Tensor:
        """Dec(z), counted."""
        self.calls += 1
        with torch.no_grad():
            return self.prior.decode(z)

    def error(self, image: Tensor) -> Tensor:
        """y - H x."""
        return self.y - self.operator.forward(image)

    @abstractmethod
    def __call__(self, denoised: Tensor, z: Tensor) -> Tensor:
        """v, of the shape of z."""


class Linearized(LatentTerm):
    """A term that needs the decoder's derivative Dec' at D.

    Dec' u is taken as the derivative of w -> Dec'^T w in the direction u: two passes back through
    the decoder, which cost less than half of forward-mode differentiation and are as exact.
    """

    pulled: Tensor | None = None

    def linearize(self, denoised: Tensor) -> Tensor:
        """Dec(D), counted; makes `transposed` and `applied` ready."""
        self.calls += 1
        self.leaf = denoised.detach().requires_grad_(True)
        # the fused attention kernels have no second derivative; the plain form has
        with torch.enable_grad(), math_attention:
            self.image = self.prior.decode(self.leaf)
        self.pulled = None
        return self.image.detach()

    def transposed(self, cotangent: Tensor) -> Tensor:
        """Dec'^T times an image, counted."""
        self.calls += 1
        return torch.autograd.grad(self.image, self.leaf, cotangent, retain_graph=True)[0]

    def applied(self, tangent: Tensor) -> Tensor:
        """Dec' times latents, counted."""
        self.calls += 1
        if self.pulled is None:
            self.weight = torch.zeros_like(self.image, requires_grad=True)
            with torch.enable_grad():
                self.pulled = torch.autograd.grad(
                    self.image, self.leaf, self.weight, create_graph=True
                )[0]
        return torch.autograd.grad(self.pulled, self.weight, tangent, retain_graph=True)[0]

    def normal(self, tangent: Tensor) -> Tensor:
        """Dec'^T R H Dec' times latents."""
        return self.transposed(self.pull(self.operator.forward(self.applied(tangent))))


class GradientTerm(Linearized):
    """Plain gradient descent, v = (sigma_t^2 Dec'^T R r + w q p) / (L sigma_t^2 + q).

    L = max(1, |Dec'^T R H Dec'|), by power iterations at the start of every noise level, keeps the
    step stable. The gradient of the loss has w = 1.
    """

    probe: Tensor | None = None

    def set_level(self, sigma: Tensor, denoised: Tensor) -> None:
        """Move to a noise level, and measure L there."""
        super().set_level(sigma, denoised)
        self.linearize(denoised)
        steps = LATER_POWER_STEPS
        if self.probe is None:
            steps = POWER_STEPS
            generator = torch.Generator().manual_seed(0)
            probe = torch.randn(denoised.shape[1:], generator=generator, dtype=torch.float64)
            self.probe = probe.to(denoised).expand(denoised.shape)
        for _ in range(steps):
            length = self.probe.flatten(1).norm(dim=1).clamp_min(1e-30)
            self.probe = self.normal(self.probe / column(length, self.probe))
        largest = POWER_MARGIN * self.probe.flatten(1).norm(dim=1).to(self.variance)
        self.total = largest.clamp_min(1.0) * self.sigma**2 + self.variance

    def __call__(self, denoised: Tensor, z: Tensor) -> Tensor:
        """v by one product with Dec'^T."""
        data = self.transposed(self.pull(self.error(self.linearize(denoised))))
        return column(self.sigma**2 / self.total, z) * data + column(
            self.own_weight / self.total, z
        ) * (denoised - z)


class GaussNewtonTerm(Linearized):
    """A damped Gauss-Newton step, (sigma_t^2 Dec'^T R H Dec' + q) v = sigma_t^2 Dec'^T R r + w q p.

    By conjugate gradients, a few of which damp it further (a truncated Newton method); each takes a
    product with Dec' and one with its transpose.
    """

    cg_steps = 3

    def __call__(self, denoised: Tensor, z: Tensor) -> Tensor:
        """v by conjugate gradients."""
        data = self.transposed(self.pull(self.error(self.linearize(denoised))))
        scale, damping = column(self.sigma**2, z), column(self.variance, z)
        target = scale * data + column(self.own_weight, z) * (denoised - z)
        return conjugate_gradient(
            lambda u: scale * self.normal(u) + damping * u,
            target,
            tol=1e-6,
            max_iter=self.cg_steps,
        )


class ReencodingTerm(LatentTerm):
    """The image is corrected and encoded again: no derivative of the decoder.

        v = a ( Enc(Dec(D) + R r) - Enc(Dec(D)) ) + w p q / (sigma_t^2 + q)
        a = sigma_t^2 / (sigma_t^2 + q)

    The encoder, made to undo the decoder, stands in for its pseudo-inverse; the difference takes
    away what one pass through both changes of its own. Where sigma_e = 0 it corrects by

        R = H^T (H H^T + (sigma_y / sigma_t)^2 I)^-1,   a = 1

    the mean of the image given y where its error is sigma_t; H^+ would spread the noise of badly
    conditioned measurements over the latents.
    """

    def set_level(self, sigma: Tensor, denoised: Tensor) -> None:
        """Move to a noise level, where R may depend on it."""
        super().set_level(sigma, denoised)
        self.share = self.sigma**2 / (self.sigma**2 + self.variance)
        if self.autoencoder_std == 0:
            self.pull = regularized_inverse(
                self.operator, (self.noise_std / self.sigma) ** 2, self.y
            )
            self.share = torch.ones_like(self.share)

    def __call__(self, denoised: Tensor, z: Tensor) -> Tensor:
        """v by two encodings."""
        image = self.decode(denoised)
        corrected = image + self.pull(self.error(image))
        self.calls += 2
        with torch.no_grad():
            data = self.prior.encode(corrected) - self.prior.encode(image)
        own = self.own_weight / (self.sigma**2 + self.variance)
        return column(self.share, z) * data + column(own, z) * (denoised - z)
