r"""The coefficients of one inner step, in the singular-value coordinates of H.

With `r = U^T y - s V^T D` and `p = V^T (D - x)` every VML-MAP step (arXiv 2512.10524) is

    x <- x + J^T V( alpha r + beta p )

and the forms differ in alpha(s) and beta(s) alone. sigma_t is the noise level, sigma_y the standard
deviation of the measurement noise, L = max(1, s_max^2). Nothing is divided by sigma_y, so
sigma_y = 0 needs no case of its own. For s > 0

    form              alpha                   beta         divided by
    None              s sigma_t^2             sigma_y^2    L sigma_t^2 + sigma_y^2
    "pseudo_inverse"  s^-1 sigma_t^2          sigma_y^2    sigma_t^2 + sigma_y^2
    "noise_aware"     w s sigma_t^2           w sigma_y^2  s^2 sigma_t^2 + sigma_y^2

On the null space (s = 0) alpha is 0; beta is that of the table for None and w_0 = `prior_weight`
for the two preconditioned forms, where "auto" stands for sigma_y^2 / (sigma_t^2 + sigma_y^2): no
pull towards the denoised image without noise, and continuous in sigma_y.

The noise-aware form is the Gauss-Newton step times

    w(s) = (s^2 sigma_t^2 + w_0 sigma_y^2) / (s^2 sigma_t^2 + sigma_y^2)

which is 1 where the measurement decides and w_0 where it says nothing. The whole step (w = 1)
moves a direction that is barely observed onto the denoised image at once and takes its noise away,
while its neighbors of the null space keep theirs: the denoiser then sees noise of a spectrum it was
not trained on, and leaves a pixel checkerboard on blurred images. w changes how fast the step gets
there, not where it ends.
"""

from __future__ import annotations

from numbers import Real
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vml_fast.errors import InputError

Form = Literal["pseudo_inverse", "noise_aware"]
FORMS: tuple[Form, ...] = ("pseudo_inverse", "noise_aware")
AUTO_NOISE_LIMIT = 1e-4
"""Up to this sigma_y "auto" means the pseudo-inverse, above it the noise-aware form."""


class Coefficients(NamedTuple):
    """alpha and beta, (B, ...) or (1, ...) in the layout of the singular values."""

    alpha: Tensor
    beta: Tensor


def check_preconditioner(name: str | None) -> str | None:
    """The name itself, or one sentence on which names exist."""
    if name is not None and (not isinstance(name, str) or name not in ("auto", *FORMS)):
        raise InputError(
            f"preconditioner is {name!r}; "
            "it must be None, 'auto', 'pseudo_inverse' or 'noise_aware'."
        )
    return name


def check_prior_weight(weight: float | str) -> float | str:
    """The weight itself, or one sentence on its range."""
    if isinstance(weight, str) and weight == "auto":
        return weight
    if isinstance(weight, bool) or not isinstance(weight, Real) or not 0.0 <= float(weight) <= 1.0:
        raise InputError(f"prior_weight is {weight!r}; it must be 'auto' or a number in [0, 1].")
    return float(weight)


def uses_pseudo_inverse(preconditioner: str, noise_std: Tensor) -> Tensor:
    """Which samples take the pseudo-inverse form: (B,) bool, from (B,) noise levels."""
    if preconditioner == "auto":
        return noise_std <= AUTO_NOISE_LIMIT
    return torch.full_like(noise_std, preconditioner == "pseudo_inverse", dtype=torch.bool)


def null_space_weight(prior_weight: float | str, sigma_t: Tensor, sigma_y: Tensor) -> Tensor:
    """beta on the null space of the preconditioned forms, in the shape of sigma_y."""
    if prior_weight == "auto":
        return sigma_y**2 / (sigma_t**2 + sigma_y**2)
    return torch.full_like(sigma_y, float(prior_weight))


def plain_coefficients(s: Tensor, norm: Tensor, sigma_t: Tensor, sigma_y: Tensor) -> Coefficients:
    """The step without a preconditioner.

    The step size is sigma_y^2 sigma_t^2 / (L sigma_t^2 + sigma_y^2) with L = max(1, s_max^2):
    stable for every norm of H and every sigma_t, where sigma_y^2 alone is not.
    """
    lipschitz = norm.square().clamp_min(1.0)
    total = lipschitz * sigma_t**2 + sigma_y**2
    return Coefficients(s * (sigma_t**2 / total), (sigma_y**2 / total).expand_as(s * total))


def preconditioned_coefficients(
    s: Tensor,
    kept: Tensor,
    sigma_t: Tensor,
    sigma_y: Tensor,
    pseudo_inverse: Tensor,
    prior_weight: float | str,
) -> Coefficients:
    """The step with either preconditioner, chosen per sample by `pseudo_inverse`."""
    safe = torch.where(kept, s, torch.ones_like(s))
    null = null_space_weight(prior_weight, sigma_t, sigma_y)
    data, prior = safe**2 * sigma_t**2, sigma_y**2
    relaxation = (data + null * prior) / (data + prior)
    newton = Coefficients(safe * sigma_t**2 / (data + prior), prior / (data + prior))
    total = sigma_t**2 + prior
    alpha = torch.where(pseudo_inverse, sigma_t**2 / (safe * total), relaxation * newton.alpha)
    beta = torch.where(pseudo_inverse, prior / total, relaxation * newton.beta)
    return Coefficients(torch.where(kept, alpha, 0.0), torch.where(kept, beta, null))


def coefficients(
    s: Tensor,
    kept: Tensor,
    *,
    norm: Tensor,
    sigma_t: Tensor,
    noise_std: Tensor,
    preconditioner: str | None,
    prior_weight: float | str,
) -> Coefficients:
    """alpha and beta of one noise level, for every singular value and sample.

    Args:
        s: (1, ...) singular values that the samples share, or (B, ...) per sample.
        kept: bool, like s: which singular values count as non-zero in the preconditioned forms.
        norm: (1,) or (B,) s_max, the largest singular value.
        sigma_t: the noise level, a scalar tensor.
        noise_std: (B,) sigma_y, at least 0.
        preconditioner: None, "auto", "pseudo_inverse" or "noise_aware".
        prior_weight: beta on the null space of the preconditioned forms, "auto" or a number.

    Returns:
        Coefficients that broadcast to (B, ...).
    """
    per_sample = (-1, *(1,) * (s.ndim - 1))
    sigma_y = noise_std.to(s.dtype).reshape(per_sample)
    sigma_t = sigma_t.to(s.dtype)
    if preconditioner is None:
        return plain_coefficients(s, norm.to(s).reshape(per_sample), sigma_t, sigma_y)
    pseudo_inverse = uses_pseudo_inverse(preconditioner, noise_std).reshape(per_sample)
    return preconditioned_coefficients(
        s.expand(torch.broadcast_shapes(s.shape, sigma_y.shape)),
        kept,
        sigma_t,
        sigma_y,
        pseudo_inverse,
        prior_weight,
    )
