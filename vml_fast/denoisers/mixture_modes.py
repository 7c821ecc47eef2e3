"""Modes and supports of Gaussian mixtures, densely and in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vml_fast.errors import InputError

_STEPS = 10_000
_TOLERANCE = 1e-13  # a step this short, relative to the size of the mixture, has converged
_SAME = 1e-6  # modes closer than this, relative to the size of the mixture, are one
_FLAT = 1e-9  # a curvature below this, relative to the largest, is none
_SINGULAR = 1e-12  # relative to the largest eigenvalue
_OFF_SUPPORT = 1e-8  # relative to the size of the mixture and of its means


def find_modes(means: Tensor, covariances: Tensor, log_weights: Tensor) -> Tensor:
    """Local maxima of a mixture's density, climbing from every mean.

    The fixed point ``x = (sum_k r_k P_k)^-1 sum_k r_k P_k m_k`` with ``P_k = C_k^-1`` never lowers
    the density (Carreira-Perpinan 2000); Newton steps take over where the Hessian of ``log p`` is
    negative definite. A saddle is left along its direction of growth, to both sides.

    Args:
        means: ``(K, n)``.
        covariances: ``(K, n, n)``, positive definite.
        log_weights: ``(K,)``.

    Returns:
        ``(M, n)``, distinct, the highest first.
    """
    landscape = _Landscape(means, covariances, log_weights)
    found: list[tuple[float, Tensor]] = []
    starts = list(means[log_weights > -math.inf])
    while starts:
        x, growth = landscape.climb(starts.pop())
        if growth is not None:
            starts += [x + landscape.size * 1e-3 * growth, x - landscape.size * 1e-3 * growth]
        elif all(float((x - other).norm()) > _SAME * landscape.size for _, other in found):
            found.append((float(landscape.log_prob(x)), x))
    found.sort(key=lambda pair: -pair[0])
    return torch.stack([x for _, x in found])


class _Landscape:
    """``log p`` with its gradient and Hessian, at one point ``(n,)``."""

    def __init__(self, means: Tensor, covariances: Tensor, log_weights: Tensor) -> None:
        factors = torch.linalg.cholesky(covariances)
        log_det = 2 * factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        self.means = means
        self.precisions = torch.cholesky_inverse(factors)
        self.constants = log_weights - (log_det + means.shape[1] * math.log(2 * math.pi)) / 2
        self.size = _size(means, covariances)

    def log_prob(self, x: Tensor) -> Tensor:
        return self._log_joint(x - self.means).logsumexp(0)

    def climb(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The stationary point above x, and a direction of growth if that is a saddle."""
        for _ in range(_STEPS):
            step, growth = self._step(x)
            x = x + step
            if float(step.norm()) <= _TOLERANCE * self.size:
                return x, growth
        raise RuntimeError(f"no mode found within {_STEPS} steps")  # pragma: no cover

    def _step(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        pull = -(self.precisions @ (x - self.means)[..., None])[..., 0]  # (K, n)
        r = self._log_joint(x - self.means).softmax(0)
        gradient = r @ pull
        precision = torch.einsum("k,kij->ij", r, self.precisions)
        hessian = torch.einsum("k,ki,kj->ij", r, pull, pull) - precision
        values, vectors = torch.linalg.eigh(hessian - torch.outer(gradient, gradient))
        if float(values[-1]) < 0:
            newton = -vectors @ ((vectors.mT @ gradient) / values)
            if self.log_prob(x + newton) >= self.log_prob(x):
                return newton, None
        upward = float(values[-1]) > _FLAT * float(values.abs().max())
        growth = vectors[:, -1] if upward else None
        return torch.linalg.solve(precision, gradient), growth

    def _log_joint(self, offset: Tensor) -> Tensor:
        quadratic = torch.einsum("ki,kij,kj->k", offset, self.precisions, offset)
        return self.constants - quadratic / 2


def common_support(means: Tensor, covariances: Tensor) -> tuple[Tensor, Tensor] | None:
    """The affine subspace that carries every component of a singular mixture.

    Args:
        means: ``(K, n)``.
        covariances: ``(K, n, n)``.

    Returns:
        A point on it ``(n,)`` and an orthonormal basis ``(n, r)``; None if all covariances are
        positive definite.

    Raises:
        InputError: the components live on different subspaces.
    """
    if bool((_ranks(covariances) == means.shape[1]).all()):
        return None
    values, vectors = torch.linalg.eigh(covariances.sum(0))
    basis = vectors[:, values > _SINGULAR * values[-1]]
    offsets = means - means[0]
    outside = offsets - offsets @ basis @ basis.mT
    scale = _size(means, covariances) + float(means.abs().max())
    lifted = float(outside.norm(dim=1).max()) > _OFF_SUPPORT * scale
    if lifted or bool((_ranks(covariances) < basis.shape[1]).any()):
        raise InputError(
            "sigma must be > 0: the components' covariances are singular on different subspaces, "
            "so the mixture has no density"
        )
    return means[0], basis


def _ranks(covariances: Tensor) -> Tensor:
    values = torch.linalg.eigvalsh(covariances)
    return (values > _SINGULAR * values[:, -1:]).sum(1)


def _size(means: Tensor, covariances: Tensor) -> float:
    """The length scale of a mixture: the spread of its means and the widest component."""
    widest = covariances.diagonal(dim1=-2, dim2=-1).amax().sqrt()
    return float((means - means.mean(0)).norm(dim=1).max() + widest)
