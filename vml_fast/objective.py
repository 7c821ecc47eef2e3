"""The VML objective (Mode-Seeking for Inverse Problems with Diffusion Models, arXiv 2512.10524).

    VML(x_t) = KL( p(x0 | x_t) || p(x0 | y) )                                       (Prop. 3.2)
             = - log p(x_t) - |D - x_t|²/(2 sigma_t²) - Tr Cov/(2 sigma_t²)
               + |y - H D|²/(2 sigma_y²) + Tr(H Cov Hᵀ)/(2 sigma_y²)
               - n/2 log(2 pi sigma_t²) + m/2 log(2 pi sigma_y²) + log p(y)

with ``D = E[x0 | x_t]`` and ``Cov = Cov[x0 | x_t] = sigma_t² J``. The simplified loss VML_S drops
both traces; its gradient needs neither ``log p(x_t)`` nor second derivatives:

    grad VML_S = - Jᵀ [ (D - x_t)/sigma_t² + Hᵀ (y - H D)/sigma_y² ]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vml_fast.autograd import differentiating, pullback
from vml_fast.covariance_traces import TRACES, Traces, exact_traces
from vml_fast.denoisers.base import Denoiser, per_image
from vml_fast.errors import InputError

if TYPE_CHECKING:
    from vml_fast.operators.base import LinearOperator

LogProb = Callable[[Tensor, Tensor], Tensor]

__all__ = ["LogProb", "Traces", "exact_traces", "vml", "vml_gradient", "vml_simplified"]


def vml(
    denoiser: Denoiser,
    operator: LinearOperator,
    y: Tensor,
    x: Tensor,
    sigma: Tensor,
    noise_std: float | Tensor,
    log_prob: LogProb,
    *,
    log_evidence: float | Tensor = 0.0,
    traces: str | Traces = "exact",
    **condition: Any,
) -> Tensor:
    """The full VML loss, differentiable in x.

    Args:
        denoiser: ``D(x, sigma, **condition)``.
        operator: H.
        y: measurements, ``(B, *operator.measurement_shape)``.
        x: the state x_t, ``(B, C, H, W)``.
        sigma: sigma_t, ``(B,)``, > 0.
        noise_std: sigma_y in units of y, > 0, a number or ``(B,)``.
        log_prob: ``log p_t(x, sigma)`` ``(B,)``, for example `GaussianMixtureDenoiser.log_prob`.
        log_evidence: ``log p(y)``, a number or ``(B,)``; with the default 0 the value is the KL
            divergence up to this constant.
        traces: a name of `covariance_traces.TRACES`, or a function with the signature of
            `exact_traces`.
        **condition: keywords of the denoiser.

    Returns:
        ``(B,)``: the divergence in nats.

    Raises:
        InputError: noise_std is not positive, an unknown name of traces, or x is too large for
            exact traces.
    """
    sigma_y = _positive_noise(noise_std, x)
    if isinstance(traces, str) and traces not in TRACES:
        raise InputError(f"traces must be one of {', '.join(TRACES)} or a function, got {traces!r}")
    estimate = TRACES[traces] if isinstance(traces, str) else traces
    simplified = vml_simplified(
        denoiser,
        operator,
        y,
        x,
        sigma,
        noise_std,
        log_prob,
        log_evidence=log_evidence,
        **condition,
    )
    covariance, measured = estimate(denoiser, operator, x, sigma, **condition)
    return simplified - covariance / (2 * sigma.square()) + measured / (2 * sigma_y.square())


def vml_simplified(
    denoiser: Denoiser,
    operator: LinearOperator,
    y: Tensor,
    x: Tensor,
    sigma: Tensor,
    noise_std: float | Tensor,
    log_prob: LogProb,
    *,
    log_evidence: float | Tensor = 0.0,
    **condition: Any,
) -> Tensor:
    """VML_S, the loss without its two traces; arguments, result and errors as for `vml`."""
    sigma_y = _positive_noise(noise_std, x)
    denoised = denoiser(x, sigma, **condition)
    residual = (y - operator.forward(denoised)).flatten(1)
    n, m = x[0].numel(), residual.shape[1]
    displacement = (denoised - x).flatten(1).square().sum(1) / sigma.square()
    misfit = (residual / sigma_y[:, None]).square().sum(1)
    constant = (
        -n * (2 * math.pi * sigma.square()).log() / 2
        + m * (math.log(2 * math.pi) + 2 * sigma_y.log()) / 2
        + log_evidence
    )
    return -log_prob(x, sigma) - displacement / 2 + misfit / 2 + constant


@differentiating
def vml_gradient(
    denoiser: Denoiser,
    operator: LinearOperator,
    y: Tensor,
    x: Tensor,
    sigma: Tensor,
    noise_std: float | Tensor,
    **condition: Any,
) -> Tensor:
    """The gradient of VML_S by one forward and one vector-Jacobian product, for any denoiser.

    The bracket is multiplied by ``sigma_t² sigma_y²/(sigma_t² + sigma_y²)`` before the product and
    the result divided by it, so that no cotangent is of the size of ``1/sigma_y²``.

    Args:
        denoiser: ``D(x, sigma, **condition)``.
        operator: H.
        y: measurements, ``(B, *operator.measurement_shape)``.
        x: the state x_t, ``(B, C, H, W)``.
        sigma: sigma_t, ``(B,)``, > 0.
        noise_std: sigma_y in units of y, > 0, a number or ``(B,)``.
        **condition: keywords of the denoiser.

    Returns:
        ``(B, C, H, W)``, detached.

    Raises:
        InputError: noise_std is not positive.
    """
    sigma_y = _positive_noise(noise_std, x)
    total = sigma.square() + sigma_y.square()
    leaf = x.detach().requires_grad_(True)
    with torch.enable_grad():
        denoised = denoiser(leaf, sigma, **condition)
    constant = denoised.detach()
    data = operator.adjoint(y - operator.forward(constant))
    bracket = per_image(sigma.square() / total, x) * data
    bracket = bracket + per_image(sigma_y.square() / total, x) * (constant - leaf.detach())
    product = pullback(denoised, leaf, bracket)
    scale = per_image(sigma_y, x)
    return -product * per_image(total / sigma.square(), x) / scale / scale


def _positive_noise(noise_std: float | Tensor, x: Tensor) -> Tensor:
    """sigma_y as ``(B,)`` of x's dtype."""
    sigma_y = torch.as_tensor(noise_std, dtype=x.dtype, device=x.device).expand(len(x))
    if not bool((sigma_y > 0).all()):
        raise InputError(
            f"noise_std must be > 0 (the loss is infinite without noise), got {noise_std}"
        )
    return sigma_y
