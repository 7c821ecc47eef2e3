"""Gaussian mixtures: a prior whose denoiser, Jacobian and posteriors are known exactly.

For ``p(x0) = sum_k w_k N(m_k, C_k)`` and ``x = x0 + sigma eps`` everything follows from

    p_t(x)     = sum_k w_k N(x; m_k, C_k + sigma² I)
    r_k(x)     = w_k N(x; m_k, C_k + sigma² I) / p_t(x)
    D_k(x)     = m_k + C_k (C_k + sigma² I)^-1 (x - m_k)
    D(x)       = sum_k r_k D_k
    Cov[x0|x]  = sum_k r_k (sigma² C_k (C_k + sigma² I)^-1 + D_k D_kᵀ) - D Dᵀ
    J          = dD/dx = Cov[x0|x] / sigma²

(Tweedie's formula, Efron 2011, and its second-order form). Each C_k is kept as its eigenvectors and
eigenvalues, so every noise level costs the same and singular covariances need no special case.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vml_fast.denoisers.base import ScaledDenoiser, Scalings
from vml_fast.denoisers.mixture_modes import common_support, find_modes
from vml_fast.denoisers.mixture_parameters import ArrayLike, Parameters, checked_parameters
from vml_fast.denoisers.mixture_posterior import Conditioned, condition
from vml_fast.errors import InputError

if TYPE_CHECKING:
    from vml_fast.operators.base import LinearOperator


class GaussianMixture:
    """``p(x) = sum_k w_k N(x; m_k, C_k)`` on images, computed in float64.

    Points are images ``(B, C, H, W)`` or flat vectors ``(B, n)``; results have the shape and dtype
    of the points.

    Args:
        means: ``(K, n)`` or ``(K, C, H, W)``.
        covariances: a number or ``(K,)`` (isotropic variances), ``(K, n)`` (diagonals), or
            ``(K, n, n)`` (full); positive semi-definite.
        weights: ``(K,)``, at least 0, normalized here; equal by default.
        image_shape: ``(C, H, W)`` of flat means; ``(1, 1, n)`` by default.

    Raises:
        InputError: shapes that do not fit, a covariance that is not positive semi-definite, a
            negative weight, or a number that is not finite.
    """

    def __init__(
        self,
        means: ArrayLike,
        covariances: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.image_shape, self._master = checked_parameters(
            means, covariances, weights, image_shape
        )
        self._parameters = {self._master.means.device: self._master}

    @property
    def means(self) -> Tensor:
        """``(K, n)`` float64."""
        return self._master.means

    @property
    def weights(self) -> Tensor:
        """``(K,)`` float64, of sum 1."""
        return self._master.log_weights.exp()

    @property
    def covariances(self) -> Tensor:
        """``(K, n, n)`` float64."""
        return self._on_axes(self._master.spread, self._master)

    @property
    def mean(self) -> Tensor:
        """``(C, H, W)`` float64."""
        return (self.weights @ self.means).reshape(self.image_shape)

    @property
    def covariance(self) -> Tensor:
        """``(n, n)`` float64, of the whole mixture."""
        centered = self.means - self.mean.flatten()
        between = torch.einsum("k,ki,kj->ij", self.weights, centered, centered)
        return torch.einsum("k,kij->ij", self.weights, self.covariances) + between

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``(count, C, H, W)`` float64 images; ``generator`` is one of the CPU."""
        means, spread, axes, _ = self._master.to(torch.device("cpu"))
        which = torch.multinomial(self.weights.cpu(), count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], dtype=torch.float64, generator=generator)
        offset = spread.sqrt()[which] * noise
        if axes is not None:
            offset = torch.einsum("bij,bj->bi", axes[which], offset)
        return (means[which] + offset).reshape(count, *self.image_shape).to(self.means.device)

    def log_prob(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """``log p_t(x)``, the density of ``x0 + sigma eps``.

        Args:
            x: points, ``(B, C, H, W)`` or ``(B, n)``.
            sigma: at least 0, a number or ``(B,)``; a tensor must be > 0 if a covariance is
                singular. With the number 0 and singular covariances that all have the same support
                (a noiseless posterior) the value is the density on that support, at the orthogonal
                projection of x.

        Returns:
            ``(B,)``.

        Raises:
            InputError: sigma is 0 and the components have different supports, or are one point.
        """
        if not isinstance(sigma, Tensor) and sigma == 0 and self.support is not None:
            origin, basis = (t.to(x.device) for t in self.support)
            return self._on_support.log_prob((self._flat(x) - origin) @ basis).to(x.dtype)
        return self._log_joint(self._flat(x), sigma).logsumexp(1).to(x.dtype)

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """``D(x) = E[x0 | x]``.

        Args:
            x: noisy points, ``(B, C, H, W)`` or ``(B, n)``.
            sigma: noise level, > 0, a number or ``(B,)``.

        Returns:
            The posterior means, of x's shape and dtype.
        """
        flat = self._flat(x)
        each, r = self._denoise_each(flat, sigma)
        return torch.einsum("bk,bkn->bn", r, each).to(x.dtype).reshape(x.shape)

    def denoising_covariance(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """``Cov[x0 | x]``, ``(B, n, n)``; arguments as for `denoise`."""
        flat = self._flat(x)
        parameters = self._on(flat.device)
        each, r = self._denoise_each(flat, sigma)
        variance = _column(sigma, flat).square()
        shrunk = parameters.spread * variance / (parameters.spread + variance)  # (B, K, n)
        within = torch.einsum("bk,bkij->bij", r, self._on_axes(shrunk, parameters))
        centered = each - torch.einsum("bk,bkn->bn", r, each)[:, None]
        between = torch.einsum("bk,bki,bkj->bij", r, centered, centered)
        return (within + between).to(x.dtype)

    def posterior(self, operator: LinearOperator, y: Tensor, noise_std: float) -> GaussianMixture:
        """The exact ``p(x0 | y)`` of ``y = H x0 + noise_std eps``, again a mixture.

        Args:
            operator: H.
            y: one measurement, ``operator.measurement_shape`` with or without a batch axis of 1.
            noise_std: sigma_y, at least 0. At 0 the prior is conditioned on the exact measurement,
                on the range of H (a part of y outside it is ignored).

        Returns:
            The posterior; its covariances are singular if noise_std is 0.

        Raises:
            InputError: shapes that do not fit, a negative noise_std, or noise_std = 0 with a
                covariance that is singular on the rows of H.
        """
        given = self._condition(operator, y, noise_std)
        return GaussianMixture(
            given.means,
            given.covariances,
            given.log_weights.softmax(0),
            image_shape=self.image_shape,
        )

    def log_evidence(self, operator: LinearOperator, y: Tensor, noise_std: float) -> float:
        """``log p(y)``, the density of all m measurements; noise_std > 0 unless H has rank m.

        Arguments and errors are those of `posterior`.
        """
        given = self._condition(operator, y, noise_std)
        if given.log_outside is None:
            raise InputError("noise_std must be > 0 for log p(y) of an operator of rank < m, got 0")
        return float(given.log_weights.logsumexp(0) + given.log_outside)

    def modes(self) -> Tensor:
        """The local maxima of the density that are reached from the means.

        Returns:
            ``(M, C, H, W)`` float64, distinct, the highest first. Mixtures of different covariances
            can have further modes far from every mean (Carreira-Perpinan 2000).

        Raises:
            InputError: the components have different supports, so that no density exists.
        """
        if self.support is None:
            points = find_modes(self.means, self.covariances, self._master.log_weights)
        else:
            points, basis = self.support
            if basis.shape[1]:
                points = points + self._on_support.modes().flatten(1) @ basis.mT
        return points.reshape(-1, *self.image_shape)

    @cached_property
    def support(self) -> tuple[Tensor, Tensor] | None:
        """The affine subspace that carries all singular components; None if none is singular.

        Returns:
            A point on it ``(n,)`` and an orthonormal basis ``(n, r)``.

        Raises:
            InputError: the components live on different subspaces.
        """
        return common_support(self.means, self.covariances)

    @cached_property
    def _on_support(self) -> GaussianMixture:
        """The mixture in the coordinates of its support."""
        assert self.support is not None
        origin, basis = self.support
        if not basis.shape[1]:
            raise InputError("sigma must be > 0: a distribution on one point has no density")
        covariances = basis.mT @ self.covariances @ basis
        return GaussianMixture((self.means - origin) @ basis, covariances, self.weights)

    def _condition(self, operator: LinearOperator, y: Tensor, noise_std: float) -> Conditioned:
        if tuple(operator.image_shape) != self.image_shape:
            raise InputError(
                f"operator must act on images of shape {self.image_shape}, "
                f"got one for {tuple(operator.image_shape)}"
            )
        master = self._master
        return condition(
            self.means, self.covariances, master.log_weights, operator, y, float(noise_std)
        )

    def _log_joint(self, flat: Tensor, sigma: Tensor | float) -> Tensor:
        """``log w_k + log N(x; m_k, C_k + sigma² I)``, ``(B, K)``."""
        parameters = self._on(flat.device)
        z = _to_axes(flat[:, None] - parameters.means, parameters.axes)
        total = parameters.spread + _column(sigma, flat).square()
        n = flat.shape[1]
        log_normal = -((z.square() / total + total.log()).sum(-1) + n * math.log(2 * math.pi)) / 2
        return parameters.log_weights + log_normal

    def _denoise_each(self, flat: Tensor, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
        """The components' posterior means ``(B, K, n)`` and responsibilities ``(B, K)``."""
        parameters = self._on(flat.device)
        z = _to_axes(flat[:, None] - parameters.means, parameters.axes)
        gain = parameters.spread / (parameters.spread + _column(sigma, flat).square())
        each = parameters.means + _from_axes(gain * z, parameters.axes)
        return each, self._log_joint(flat, sigma).softmax(1)

    def _on_axes(self, diagonal: Tensor, parameters: Parameters) -> Tensor:
        """``Q_k diag(d_k) Q_kᵀ`` for ``d (..., K, n)``."""
        if parameters.axes is None:
            return torch.diag_embed(diagonal)
        return (parameters.axes * diagonal[..., None, :]) @ parameters.axes.mT

    def _on(self, device: torch.device) -> Parameters:
        if device not in self._parameters:
            self._parameters[device] = self._master.to(device)
        return self._parameters[device]

    def _flat(self, x: Tensor) -> Tensor:
        n = self.means.shape[1]
        if x.ndim < 2 or x[:0].flatten(1).shape[1] != n:
            allowed = f"(B, {n}) or (B, {', '.join(map(str, self.image_shape))})"
            raise InputError(f"x must have shape {allowed}, got {tuple(x.shape)}")
        return x.reshape(len(x), n).to(torch.float64)


class GaussianMixtureDenoiser(ScaledDenoiser):
    """The exact denoiser of a Gaussian mixture prior, at every ``sigma > 0``.

    Its network is the posterior mean itself: ``c_skip = 0``, ``c_out = c_in = 1``,
    ``c_noise = sigma``.

    Args:
        means: ``(K, n)`` or ``(K, C, H, W)``.
        covariances: a number, ``(K,)``, ``(K, n)`` or ``(K, n, n)``; see `GaussianMixture`.
        weights: ``(K,)``, at least 0; equal by default.
        image_shape: ``(C, H, W)`` of flat means; ``(1, 1, n)`` by default.
        sigma_min: smallest level that a solver's schedule should use.
        sigma_max: largest.

    Raises:
        InputError: an argument does not fit; see `GaussianMixture`.
    """

    def __init__(
        self,
        means: ArrayLike,
        covariances: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        image_shape: tuple[int, int, int] | None = None,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
    ) -> None:
        mixture = GaussianMixture(means, covariances, weights, image_shape=image_shape)
        super().__init__(mixture.denoise, mixture.image_shape, sigma_min, sigma_max)
        self.mixture = mixture

    def scalings(self, sigma: Tensor) -> Scalings:
        """``(0, 1, 1, sigma)``."""
        one = torch.ones_like(sigma)
        return Scalings(skip=torch.zeros_like(sigma), out=one, input=one, noise=sigma)

    def forward(self, x: Tensor, sigma: Tensor, **condition: Any) -> Tensor:
        """``E[x0 | x]`` for x ``(B, C, H, W)`` or ``(B, n)`` and sigma ``(B,)``, > 0."""
        if sigma.shape != x.shape[:1]:
            raise InputError(f"sigma must have shape ({len(x)},), got {tuple(sigma.shape)}")
        return self.mixture.denoise(x, sigma, **condition)

    def jacobian(self, x: Tensor, sigma: Tensor) -> Tensor:
        """``J = dD/dx = Cov[x0 | x]/sigma²``, ``(B, n, n)``, symmetric positive semi-definite."""
        return self.covariance(x, sigma) / sigma.to(x).square()[:, None, None]

    def covariance(self, x: Tensor, sigma: Tensor) -> Tensor:
        """``Cov[x0 | x]``, ``(B, n, n)``."""
        return self.mixture.denoising_covariance(x, sigma)

    def log_prob(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """``log p_t(x)``, ``(B,)``; see `GaussianMixture.log_prob`."""
        return self.mixture.log_prob(x, sigma)

    def posterior(self, operator: LinearOperator, y: Tensor, noise_std: float) -> GaussianMixture:
        """The exact ``p(x0 | y)``; see `GaussianMixture.posterior`."""
        return self.mixture.posterior(operator, y, noise_std)

    def modes(self) -> Tensor:
        """The prior's modes, ``(M, C, H, W)``; see `GaussianMixture.modes`."""
        return self.mixture.modes()


def _column(sigma: Tensor | float, flat: Tensor) -> Tensor:
    """The noise level as float64 ``(B, 1, 1)`` or ``(1, 1, 1)``."""
    return torch.as_tensor(sigma).to(flat).reshape(-1, 1, 1)


def _to_axes(v: Tensor, axes: Tensor | None) -> Tensor:
    """``Q_kᵀ v_k`` for ``v (B, K, n)``."""
    return v if axes is None else torch.einsum("kij,bki->bkj", axes, v)


def _from_axes(z: Tensor, axes: Tensor | None) -> Tensor:
    """``Q_k z_k`` for ``z (B, K, n)``."""
    return z if axes is None else torch.einsum("kij,bkj->bki", axes, z)
