"""The two traces of the VML loss, ``Tr Cov`` and ``Tr(H Cov Hᵀ)``: exact, Hutchinson, Hutch++.

With ``Cov = sigma_t² J`` each is ``sigma_t² Tr(J M)``, M = I or HᵀH, and each vector u gives

    uᵀ J M u = (Jᵀ u)·(M u)

by one vector-Jacobian product, whatever the symmetry of J. Hutchinson (1989) averages it over
random signs u; Hutch++ (Meyer et al. 2021, arXiv 2010.09649) sums it over an orthonormal basis Q of
the dominant range of J and estimates the rest alone, with u projected off Q. Both are unbiased, and
so are their gradients, since neither u nor Q depends on x there.

`trace_gradient` is what the full loss adds to a step of VML_S (`vml_fast.objective`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vml_fast.denoisers.base import Denoiser
from vml_fast.errors import InputError
from vml_fast.ops.philox import normal

if TYPE_CHECKING:
    from vml_fast.operators.base import LinearOperator

Traces = Callable[..., tuple[Tensor, Tensor]]

EXACT_LIMIT = 4096
"""The largest number of pixels for which `exact_traces` takes one Jacobian row per pixel."""
PROBE_DRAW = 2**30
"""Draws of the probes begin here, far from those of a solver, which count its noise levels."""


def exact_traces(
    denoiser: Denoiser, operator: LinearOperator, x: Tensor, sigma: Tensor, **condition: Any
) -> tuple[Tensor, Tensor]:
    """``Tr Cov`` and ``Tr(H Cov Hᵀ)`` with ``Cov = sigma_t² J``, from all n rows of J.

    Args:
        denoiser: ``D(x, sigma, **condition)``.
        operator: H.
        x: the state x_t, ``(B, C, H, W)``, of at most `EXACT_LIMIT` pixels each.
        sigma: sigma_t, ``(B,)``, > 0.
        **condition: keywords of the denoiser.

    Returns:
        Two tensors ``(B,)``, differentiable in x if x requires a gradient.

    Raises:
        InputError: x is too large.
    """
    n = x[0].numel()
    if n > EXACT_LIMIT:
        raise InputError(f"x must have at most {EXACT_LIMIT} pixels for exact traces, got {n}")
    forms = _Forms(denoiser, operator, x, sigma, condition)
    for i in range(n):
        unit = torch.zeros_like(x).flatten(1)
        unit[:, i] = 1
        forms.add(unit.reshape(x.shape), 1.0)
    return forms.totals()


def hutchinson(
    probes: int = 8,
    *,
    seed: int | Tensor = 0,
    sample_index: Sequence[int] | Tensor | None = None,
    draw: int = 0,
) -> Traces:
    """Hutchinson's estimate, as a function with the signature of `exact_traces`.

    Args:
        probes: random sign vectors, at least 1; the standard error falls with its root.
        seed: an int or ``(B,)``: with the sample index the key of the signs, whatever the batch.
        sample_index: ``(B,)``, by default 0 ... B-1.
        draw: another draw gives other signs; at least 0.

    Raises:
        InputError: probes is below 1.
    """
    _check_probes(probes)

    def traces(
        denoiser: Denoiser, operator: LinearOperator, x: Tensor, sigma: Tensor, **condition: Any
    ) -> tuple[Tensor, Tensor]:
        forms = _Forms(denoiser, operator, x, sigma, condition)
        for i in range(probes):
            forms.add(_signs(x, seed, sample_index, draw * probes + i), 1.0 / probes)
        return forms.totals()

    return traces


def hutch_plus_plus(
    probes: int = 9,
    *,
    seed: int | Tensor = 0,
    sample_index: Sequence[int] | Tensor | None = None,
    draw: int = 0,
) -> Traces:
    """Hutch++'s estimate, as a function with the signature of `exact_traces`.

    A third of the probes sketches the range of J, one third of the products measures it there, and
    the last third estimates the rest: as many products as Hutchinson's with as many probes. Exact
    where J has no larger rank than the sketch.

    Args:
        probes: a multiple of 3, at least 3.
        seed: as in `hutchinson`.
        sample_index: likewise.
        draw: likewise.

    Raises:
        InputError: probes is not a multiple of 3.
    """
    _check_probes(probes)
    if probes % 3:
        raise InputError(f"probes of Hutch++ must be a multiple of 3, got {probes}")
    third = probes // 3

    def traces(
        denoiser: Denoiser, operator: LinearOperator, x: Tensor, sigma: Tensor, **condition: Any
    ) -> tuple[Tensor, Tensor]:
        forms = _Forms(denoiser, operator, x, sigma, condition)
        first = 2 * third * draw
        sketch = [_signs(x, seed, sample_index, first + i) for i in range(third)]
        columns = [forms.product(signs).detach().flatten(1) for signs in sketch]
        basis = torch.linalg.qr(torch.stack(columns, dim=2)).Q  # (B, n, k)
        for column in basis.unbind(dim=2):
            forms.add(column.reshape(x.shape), 1.0)
        for i in range(third):
            signs = _signs(x, seed, sample_index, first + third + i).flatten(1)[..., None]
            rest = signs - basis @ (basis.mT @ signs)
            forms.add(rest.reshape(x.shape), 1.0 / third)
        return forms.totals()

    return traces


def trace_gradient(
    traces: Traces,
    denoiser: Denoiser,
    operator: LinearOperator,
    x: Tensor,
    sigma: Tensor,
    data_weight: float | Tensor,
    prior_weight: float | Tensor,
    **condition: Any,
) -> Tensor:
    """What the traces add to the gradient of VML_S, times the step size.

    The step of method VML-MAP is ``x += Jᵀ[ a Hᵀ(y - H D) + b (D - x) ]`` with
    ``a = sigma_t²/(L sigma_t² + sigma_y²)`` and ``b = sigma_y²/(L sigma_t² + sigma_y²)``. The full
    loss subtracts from it the gradient of

        ( a Tr(H Cov Hᵀ) - b Tr Cov ) / 2

    which is finite without noise, too. It takes second derivatives of D.

    Args:
        traces: `exact_traces`, or what `hutchinson` or `hutch_plus_plus` returned.
        denoiser: ``D(x, sigma, **condition)``, twice differentiable.
        operator: H.
        x: the state x_t, ``(B, C, H, W)``.
        sigma: sigma_t, ``(B,)``, > 0.
        data_weight: a, a number or ``(B,)``.
        prior_weight: b, likewise.
        **condition: keywords of the denoiser.

    Returns:
        ``(B, C, H, W)``, detached.
    """
    leaf = x.detach().requires_grad_(True)
    with torch.enable_grad():
        covariance, measured = traces(denoiser, operator, leaf, sigma, **condition)
        a = torch.as_tensor(data_weight).to(covariance)
        b = torch.as_tensor(prior_weight).to(covariance)
        (gradient,) = torch.autograd.grad((a * measured - b * covariance).sum() / 2.0, leaf)
    return gradient.detach()


class _Forms:
    """Sums of ``sigma_t² uᵀ J u`` and ``sigma_t² uᵀ J HᵀH u`` over vectors u."""

    def __init__(
        self,
        denoiser: Denoiser,
        operator: LinearOperator,
        x: Tensor,
        sigma: Tensor,
        condition: dict[str, Any],
    ) -> None:
        self.differentiable = x.requires_grad and torch.is_grad_enabled()
        with torch.enable_grad():
            self.leaf = x if self.differentiable else x.detach().requires_grad_(True)
            self.denoised = denoiser(self.leaf, sigma, **condition)
        self.operator = operator
        self.variance = sigma.square()
        self.trace = torch.zeros_like(sigma, dtype=x.dtype)
        self.measured = torch.zeros_like(self.trace)

    def product(self, u: Tensor, *, differentiable: bool = False) -> Tensor:
        """``Jᵀ u``."""
        (row,) = torch.autograd.grad(
            self.denoised, self.leaf, u, retain_graph=True, create_graph=differentiable
        )
        return row

    def add(self, u: Tensor, weight: float) -> None:
        """Add the forms of a vector ``(B, C, H, W)``, times a weight."""
        with torch.enable_grad():
            row = self.product(u, differentiable=self.differentiable)
            normal_u = self.operator.adjoint(self.operator.forward(u))
            self.trace = self.trace + weight * (row * u).flatten(1).sum(1)
            self.measured = self.measured + weight * (row * normal_u).flatten(1).sum(1)

    def totals(self) -> tuple[Tensor, Tensor]:
        """Both sums, ``(B,)``."""
        return self.variance * self.trace, self.variance * self.measured


def _signs(
    x: Tensor, seed: int | Tensor, sample_index: Sequence[int] | Tensor | None, draw: int
) -> Tensor:
    """Random signs of x's shape, keyed by (seed, sample index) like the noise of a solver."""
    batch, device = len(x), x.device
    seeds = torch.as_tensor(seed, device=device).expand(batch)
    index = torch.arange(batch) if sample_index is None else torch.as_tensor(sample_index)
    gaussian = normal(
        tuple(x.shape), seed=seeds, sample=index.to(device), draw=PROBE_DRAW + draw, dtype=x.dtype
    )
    return torch.where(gaussian < 0, -1.0, 1.0).to(x)


def _check_probes(probes: int) -> None:
    if isinstance(probes, bool) or not isinstance(probes, int) or probes < 1:
        raise InputError(f"probes must be a whole number of at least 1, got {probes!r}")


TRACES: dict[str, Traces] = {
    "exact": exact_traces,
    "hutchinson": hutchinson(),
    "hutch++": hutch_plus_plus(),
}
"""Ways to compute the two traces, by name; the estimates with their default probes and seed 0."""
