"""VML-MAP in plain eager PyTorch: the specification that every fast path agrees with.

No fused op and no analytic shortcut: the denoiser as a whole, one `torch.autograd.grad` through it,
and the operator's SVD written out, or conjugate gradients where it has none. The "before" of every
speed ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vml_fast.autograd import differentiating, pullback
from vml_fast.operators.base import LinearOperator, SVDOperator
from vml_fast.operators.cg import conjugate_gradient
from vml_fast.preconditioners import coefficients, null_space_weight, uses_pseudo_inverse
from vml_fast.runtime.noise import Noise
from vml_fast.schedules import SIGMA_MAX, SIGMA_MIN, edm_schedule

Direction = Callable[[Tensor, Tensor], Tensor]
"""x, D -> v, both (B, C, H, W)."""


def svd_bracket(
    operator: SVDOperator,
    y: Tensor,
    sigma: Tensor,
    noise_std: Tensor,
    preconditioner: str | None,
    prior_weight: float | str,
) -> Direction:
    """V( alpha (U^T y - s V^T D) + beta V^T (D - x) ) at one noise level."""
    measured = operator.spectral_measurement(y)
    s = operator.spectral_singular_values().to(y.device)
    s = s.expand(torch.broadcast_shapes(s.shape, measured.shape))
    kept = operator.spectral_retained().to(y.device).expand(s.shape)
    settings: dict[str, Any] = {
        "norm": s.flatten(1).amax(1),
        "sigma_t": sigma.to(y.device),
        "noise_std": noise_std.to(y.device),
        "preconditioner": preconditioner,
        "prior_weight": prior_weight,
    }
    alpha, beta = (t.to(y) for t in coefficients(s, kept, **settings))
    nothing = s.new_zeros(len(y), 1, 1, 1)
    outside = coefficients(nothing, nothing > 0, **settings).beta.to(y)  # where V is not stored
    s = s.to(y)

    def bracket(x: Tensor, denoised: Tensor) -> Tensor:
        r = measured - s * operator.spectral(denoised)
        p = operator.spectral(denoised - x)
        v = operator.spatial(alpha * r + beta * p)
        if not operator.complete:
            v = v + outside * (denoised - x - operator.spatial(p))
        return v

    return bracket


def matrix_free_bracket(
    operator: LinearOperator,
    y: Tensor,
    sigma: Tensor,
    noise_std: Tensor,
    preconditioner: str | None,
    prior_weight: float | str,
) -> Direction:
    """The same v from H and H^T alone, by conjugate gradients.

    With A = (H^T H + q I)^-1: H^T (H H^T + q I)^-1 is A H^T, whose solution exists for any y.
    """
    image = (-1, 1, 1, 1)
    measured = (-1, *[1] * (y.ndim - 1))
    sigma_t, sigma_y = sigma.to(y), noise_std.to(y)
    prior = sigma_y**2 / (sigma_t**2 + sigma_y**2)
    if preconditioner is None:
        total = max(1.0, operator.norm() ** 2) * sigma_t**2 + sigma_y**2
        a, b = (sigma_t**2 / total).view(image), (sigma_y**2 / total).view(image)
        return lambda x, d: a * operator.adjoint(y - operator.forward(d)) + b * (d - x)
    weight = null_space_weight(prior_weight, sigma_t, sigma_y)
    w, q = weight.view(image), ((sigma_y / sigma_t) ** 2).view(image)
    noisy = ~uses_pseudo_inverse(preconditioner, sigma_y).view(image)

    def A(target: Tensor) -> Tensor:
        return conjugate_gradient(
            lambda z: operator.adjoint(operator.forward(z)) + q * z,
            target,
            tol=1e-6 if y.dtype == torch.float32 else 1e-10,
            max_iter=200,
        )

    def bracket(x: Tensor, denoised: Tensor) -> Tensor:
        r, p = y - operator.forward(denoised), operator.forward(denoised - x)
        b, c = prior.view(measured), weight.view(measured)
        exact = operator.pseudo_inverse((1 - b) * r + (b - c) * p)
        g = A(operator.adjoint(r - p))
        newton = w * g + (1 - w) * A(operator.adjoint(r) - q * g)
        return torch.where(noisy, newton, exact) + w * (denoised - x)

    return bracket


@differentiating
def vml_map(
    denoiser: Callable[..., Tensor],
    operator: LinearOperator,
    y: Tensor,
    *,
    noise_std: float | Tensor = 0.0,
    steps: int = 20,
    inner_steps: int = 10,
    preconditioner: str | None = "auto",
    prior_weight: float | str = "auto",
    stop_sigma: float | Tensor | None = None,
    seed: int | Sequence[int] | Tensor = 0,
    sample_index: Sequence[int] | Tensor | None = None,
    condition: dict[str, Any] | None = None,
) -> Tensor:
    """Restore a batch: VML-MAP (arXiv 2512.10524), all four forms.

    Args:
        denoiser: D(x, sigma), any callable.
        operator: H.
        y: (B, *measurement_shape).
        noise_std: sigma_y, one number or (B,).
        steps: N.
        inner_steps: K.
        preconditioner: None, "auto", "pseudo_inverse" or "noise_aware".
        prior_weight: "auto" or a number in [0, 1].
        stop_sigma: tau, one number or (B,); None for no stop.
        seed: an int or (B,).
        sample_index: (B,), by default 0 ... B-1.
        condition: keywords of the denoiser.

    Returns:
        (B, C, H, W) restored images.
    """
    batch = len(y)
    sigma_y = torch.as_tensor(noise_std, dtype=torch.float64).expand(batch)
    tau = torch.as_tensor(0.0 if stop_sigma is None else stop_sigma, dtype=torch.float64)
    tau = tau.expand(batch).to(y.device)
    levels = edm_schedule(
        steps,
        sigma_min=max(SIGMA_MIN, getattr(denoiser, "sigma_min", SIGMA_MIN)),
        sigma_max=min(SIGMA_MAX, getattr(denoiser, "sigma_max", SIGMA_MAX)),
    )
    noise = Noise(seed, sample_index, (batch, *operator.image_shape), y)
    make_bracket: Callable[..., Direction] = (
        svd_bracket if operator.has_svd else matrix_free_bracket
    )

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return denoiser(x, sigma.to(x).expand(batch), **(condition or {}))

    x = levels[0].to(y) * noise.draw(0)
    for i, sigma in enumerate(levels):
        bracket = make_bracket(operator, y, sigma, sigma_y, preconditioner, prior_weight)
        optimized = (sigma.to(tau) > tau).to(y).reshape(-1, 1, 1, 1)
        for _ in range(inner_steps if bool(optimized.any()) else 0):
            x.requires_grad_(True)
            with torch.enable_grad():
                denoised = denoise(x, sigma)
            with torch.no_grad():
                v = bracket(x, denoised)
            step = pullback(denoised, x, v)
            x = (x + optimized * step).detach()
        with torch.no_grad():
            denoised = denoise(x, sigma)
        if i + 1 < steps:
            following = levels[i + 1]
            ddim = (following.to(tau) <= tau).reshape(-1, 1, 1, 1)
            deviation = (following / sigma).to(y) * (x - denoised)
            x = denoised + torch.where(ddim, deviation, following.to(y) * noise.draw(i + 1))
    return denoised
