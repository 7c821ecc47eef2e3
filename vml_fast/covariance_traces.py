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

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vml_fast.autograd import differentiating, math_attention, pullback
from vml_fast.checks import check_count
from vml_fast.denoisers.base import Denoiser, per_image
from vml_fast.errors import InputError
from vml_fast.ops.philox import normal

if TYPE_CHECKING:
    from vml_fast.operators.base import LinearOperator

Traces = Callable[..., tuple[Tensor, Tensor]]
LinearMap = Callable[[Tensor], Tensor]
Vectors = Callable[[Tensor, LinearMap], Iterator[tuple[Tensor, float]]]
"""From x and the product with Jᵀ at x: vectors u of x's shape and weights w, for which the sum of
w uᵀ J M u is Tr(J M) or an unbiased estimate of it, whatever M is."""

EXACT_LIMIT = 4096
"""The largest number of pixels for which `exact_traces` takes one Jacobian row per pixel."""
PROBE_DRAW = 2**30
"""Draws of the probes begin here, far from those of a solver, which count its noise levels."""


class TraceEstimate:
    """``Tr Cov`` and ``Tr(H Cov Hᵀ)`` with ``Cov = sigma_t² J``, by products with Jᵀ.

    Args:
        vectors: which ones.
    """

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    @differentiating
    def __call__(
        self,
        denoiser: Denoiser,
        operator: LinearOperator,
        x: Tensor,
        sigma: Tensor,
        **condition: Any,
    ) -> tuple[Tensor, Tensor]:
        """Both traces.

        Args:
            denoiser: ``D(x, sigma, **condition)``.
            operator: H.
            x: the state x_t, ``(B, C, H, W)``.
            sigma: sigma_t, ``(B,)``, > 0.
            **condition: keywords of the denoiser.

        Returns:
            Two tensors ``(B,)``, differentiable in x if x requires a gradient.

        Raises:
            InputError: x is too large for exact traces.
        """
        differentiable = x.requires_grad and torch.is_grad_enabled()
        with torch.enable_grad():
            leaf = x if differentiable else x.detach().requires_grad_(True)
            vectors = self.vectors(x, lambda u: _product(denoised, leaf, u))
            denoised = denoiser(leaf, sigma, **condition)
            trace = measured = torch.zeros_like(sigma, dtype=x.dtype)
            for u, weight in vectors:
                row = _product(denoised, leaf, u, differentiable=differentiable)
                trace = trace + weight * _dot(row, u)
                measured = measured + weight * _dot(row, operator.adjoint(operator.forward(u)))
            return sigma.square() * trace, sigma.square() * measured


def exact_vectors(x: Tensor, product: LinearMap) -> Iterator[tuple[Tensor, float]]:
    """All n unit vectors.

    Raises:
        InputError: x has more than `EXACT_LIMIT` entries.
    """
    n = x[0].numel()
    if n > EXACT_LIMIT:
        raise InputError(f"x must have at most {EXACT_LIMIT} entries for exact traces, got {n}")
    units = (torch.arange(n, device=x.device) == i for i in range(n))
    return ((unit.to(x).expand(len(x), n).reshape(x.shape), 1.0) for unit in units)


exact_traces = TraceEstimate(exact_vectors)
"""Both traces from all n rows of J, for images of at most `EXACT_LIMIT` entries."""


def hutchinson(
    probes: int = 8,
    *,
    seed: int | Tensor = 0,
    sample_index: Sequence[int] | Tensor | None = None,
    draw: int = 0,
) -> TraceEstimate:
    """Hutchinson's estimate, called as `exact_traces` is.

    Args:
        probes: random sign vectors, at least 1; the standard error falls with its root.
        seed: an int or ``(B,)``: with the sample index the key of the signs, whatever the batch.
        sample_index: ``(B,)``, by default 0 ... B-1.
        draw: another draw gives other signs; at least 0.

    Raises:
        InputError: probes is below 1.
    """
    check_count("probes", probes, 1)

    def vectors(x: Tensor, product: LinearMap) -> Iterator[tuple[Tensor, float]]:
        for i in range(probes):
            yield _signs(x, seed, sample_index, draw * probes + i), 1.0 / probes

    return TraceEstimate(vectors)


def hutch_plus_plus(
    probes: int = 9,
    *,
    seed: int | Tensor = 0,
    sample_index: Sequence[int] | Tensor | None = None,
    draw: int = 0,
) -> TraceEstimate:
    """Hutch++'s estimate, called as `exact_traces` is.

    A third of the probes sketches the range of J, one third of the products measures it there, and
    the last third estimates the rest: as many products as Hutchinson's with as many probes. Exact
    where J is symmetric and of no larger rank than the sketch.

    Args:
        probes: a multiple of 3, at least 3.
        seed: as in `hutchinson`.
        sample_index: likewise.
        draw: likewise.

    Raises:
        InputError: probes is not a multiple of 3.
    """
    check_count("probes", probes, 1)
    if probes % 3:
        raise InputError(f"probes of Hutch++ must be a multiple of 3, got {probes}")
    third = probes // 3

    def vectors(x: Tensor, product: LinearMap) -> Iterator[tuple[Tensor, float]]:
        first = 2 * third * draw
        sketch = [_signs(x, seed, sample_index, first + i) for i in range(third)]
        columns = [product(signs).flatten(1) for signs in sketch]
        basis = torch.linalg.qr(torch.stack(columns, dim=2)).Q  # (B, n, k)
        for column in basis.unbind(dim=2):
            yield column.reshape(x.shape), 1.0
        for i in range(third):
            signs = _signs(x, seed, sample_index, first + third + i).flatten(1)[..., None]
            rest = signs - basis @ (basis.mT @ signs)
            yield rest.reshape(x.shape), 1.0 / third

    return TraceEstimate(vectors)


def trace_estimate(
    form: str,
    probes: int,
    *,
    seed: int | Tensor = 0,
    sample_index: Sequence[int] | Tensor | None = None,
    draw: int = 0,
) -> TraceEstimate:
    """The estimate of this name in `TRACES`, with probes, seed and draw of one's own."""
    if form == "exact":
        return exact_traces
    make = {"hutchinson": hutchinson, "hutch++": hutch_plus_plus}[form]
    return make(probes, seed=seed, sample_index=sample_index, draw=draw)


@differentiating
def trace_gradient(
    estimate: TraceEstimate,
    denoiser: Denoiser,
    metric: LinearMap,
    x: Tensor,
    sigma: Tensor,
    **condition: Any,
) -> Tensor:
    """The gradient of ``Tr(M Cov)/2``, which a step of the full loss subtracts from that of VML_S.

    The step of method VML-MAP is ``x += Jᵀ[ a Hᵀ(y - H D) + b (D - x) ]`` with
    ``a = sigma_t²/(L sigma_t² + sigma_y²)`` and ``b = sigma_y²/(L sigma_t² + sigma_y²)``. Its M is
    ``a HᵀH - b I``, finite without noise, too. It takes second derivatives of D, one vector at a
    time, in the memory of one.

    Args:
        estimate: `exact_traces`, or what `hutchinson` or `hutch_plus_plus` returned.
        denoiser: ``D(x, sigma, **condition)``, twice differentiable.
        metric: the product of M, symmetric, with ``(B, C, H, W)`` images.
        x: the state x_t, ``(B, C, H, W)``.
        sigma: sigma_t, ``(B,)``, > 0.
        **condition: keywords of the denoiser.

    Returns:
        ``(B, C, H, W)``, detached.

    Raises:
        InputError: x is too large for exact traces.
    """
    leaf = x.detach().requires_grad_(True)
    total = torch.zeros_like(x)
    # the fused forms of attention have no second derivatives
    with torch.enable_grad(), math_attention:
        vectors = estimate.vectors(x, lambda u: _product(denoised, leaf, u))
        denoised = denoiser(leaf, sigma, **condition)
        for u, weight in vectors:
            row = _product(denoised, leaf, u, differentiable=True)
            form = _dot(row, metric(u)).sum()
            if form.requires_grad:  # it does not where J is constant
                (gradient,) = torch.autograd.grad(form, leaf, retain_graph=True)
                total += weight * gradient
    return per_image(sigma.square() / 2, x) * total


def _product(denoised: Tensor, leaf: Tensor, u: Tensor, *, differentiable: bool = False) -> Tensor:
    """``Jᵀ u``."""
    return pullback(denoised, leaf, u, retain_graph=True, create_graph=differentiable)


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).flatten(1).sum(1)


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


TRACES: dict[str, TraceEstimate] = {
    "exact": exact_traces,
    "hutchinson": hutchinson(),
    "hutch++": hutch_plus_plus(),
}
"""Ways to compute the two traces, by name; the estimates with their default probes and seed 0."""
