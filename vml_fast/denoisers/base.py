"""What a denoiser is, and the common form of those that wrap a network.

A denoiser is any callable ``D(x, sigma, **condition) -> x0``: an estimate of the clean image from
``x = x0 + sigma * eps`` (variance-exploding coordinates). `ScaledDenoiser` is the form that all
network adapters share, Eq. (7) of Karras et al. 2022 (arXiv 2206.00364):

    D(x; sigma) = c_skip x + c_out F(c_in x; c_noise)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from vml_fast.errors import InputError


class Denoiser(Protocol):
    """Any callable ``D(x, sigma, **condition) -> x0``."""

    def __call__(self, x: Tensor, sigma: Tensor, **condition: Any) -> Tensor:
        """Estimate the clean image.

        Args:
            x: noisy images ``(B, C, H, W)``, ``x = x0 + sigma * eps``.
            sigma: noise level of each sample, ``(B,)``.
            **condition: what the network is conditioned on, for example ``class_labels``.

        Returns:
            The estimate of ``x0``, of x's shape and dtype.
        """
        ...


class Scalings(NamedTuple):
    """The coefficients of Karras et al. 2022, Eq. (7), each ``(B,)``."""

    skip: Tensor
    out: Tensor
    input: Tensor
    noise: Tensor


class ScaledDenoiser(nn.Module):
    """A network F seen as a denoiser: ``D(x; sigma) = c_skip x + c_out F(c_in x; c_noise)``.

    The network is used as given: its weights are frozen and it is put in evaluation mode, in place.
    Subclasses say what the coefficients are (`scalings`).

    Args:
        network: ``F(u, c_noise, **condition)``, a module or a plain callable. It returns a tensor,
            a tuple whose first entry is one, or an object with a ``sample`` attribute (diffusers),
            with C channels or 2C of which the last C, a learned variance, are dropped.
        image_shape: ``(C, H, W)`` of the images.
        sigma_min: the smallest noise level the network knows, > 0.
        sigma_max: the largest, > sigma_min.

    Raises:
        InputError: an argument is outside its range.
    """

    def __init__(
        self,
        network: Callable[..., Any],
        image_shape: tuple[int, int, int],
        sigma_min: float,
        sigma_max: float,
    ) -> None:
        super().__init__()
        if not callable(network):
            raise InputError(f"network must be a module or a callable, got {network!r}")
        if not 0 < sigma_min < sigma_max < float("inf"):
            raise InputError(
                "sigma_min and sigma_max must satisfy 0 < sigma_min < sigma_max < inf, "
                f"got {sigma_min} and {sigma_max}"
            )
        self.image_shape = checked_image_shape(image_shape)
        self.sigma_min = float(sigma_min)
        self.sigma_max = float(sigma_max)
        self.network = network
        if isinstance(network, nn.Module):
            network.requires_grad_(False)
            network.eval()

    @property
    def network_dtype(self) -> torch.dtype | None:
        """The dtype of the network's weights; None for a network without any."""
        for tensor in _tensors(self.network):
            if tensor.is_floating_point():
                return tensor.dtype
        return None

    def scalings(self, sigma: Tensor) -> Scalings:
        """The coefficients at noise levels ``sigma`` ``(B,)``, in sigma's dtype."""
        raise NotImplementedError

    def raw(self, u: Tensor, c_noise: Tensor, **condition: Any) -> Tensor:
        """The bare network ``F(u; c_noise)``, in the network's own dtype.

        Args:
            u: scaled input ``c_in x``, ``(B, C, H, W)``, in `network_dtype`.
            c_noise: the network's noise input, ``(B,)``.
            **condition: keywords of the network.

        Returns:
            ``(B, C, H, W)``, without learned-variance channels.
        """
        output = self.network(u, c_noise, **condition)
        if not isinstance(output, Tensor):
            if output is None:
                raise InputError("network must return a tensor, got None")
            output = output.sample if hasattr(output, "sample") else output[0]
        channels = u.shape[1]
        if output.ndim == u.ndim and output.shape[1] == 2 * channels:
            output = output[:, :channels]
        if output.shape != u.shape:
            raise InputError(
                f"network must return {channels} or {2 * channels} channels of the input's size, "
                f"got shape {tuple(output.shape)} for an input of shape {tuple(u.shape)}"
            )
        return output

    def forward(self, x: Tensor, sigma: Tensor, **condition: Any) -> Tensor:
        """Denoise, with state and coefficients in x's precision (at least float32).

        Args:
            x: ``(B, C, H, W)`` with ``(C, H, W) = image_shape``.
            sigma: ``(B,)``, > 0.
            **condition: keywords of the network.

        Returns:
            The estimate of ``x0``, of x's shape; float64 for a float64 x, else float32.

        Raises:
            InputError: x or sigma has another shape.
        """
        self._check_shapes(x, sigma)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        c = self.scalings(sigma.to(x))
        u = per_image(c.input, x) * x
        output = self.raw(u.to(self.network_dtype or x.dtype), c.noise, **condition)
        return per_image(c.skip, x) * x + per_image(c.out, x) * output.to(x.dtype)

    def _check_shapes(self, x: Tensor, sigma: Tensor) -> None:
        if tuple(x.shape[1:]) != self.image_shape:
            raise InputError(
                f"x must have shape (B, {', '.join(map(str, self.image_shape))}), "
                f"got {tuple(x.shape)}"
            )
        if sigma.shape != x.shape[:1]:
            raise InputError(f"sigma must have shape ({len(x)},), got {tuple(sigma.shape)}")


def checked_image_shape(image_shape: Any) -> tuple[int, int, int]:
    """``image_shape`` as three positive ints, or an `InputError`."""
    try:
        shape = tuple(int(size) for size in image_shape)
    except (TypeError, ValueError):
        shape = ()
    if len(shape) != 3 or min(shape) < 1 or shape != tuple(image_shape):
        raise InputError(
            f"image_shape must be (channels, height, width), all at least 1, got {image_shape!r}"
        )
    return shape


def per_image(coefficient: Tensor, x: Tensor) -> Tensor:
    """A coefficient ``(B,)`` shaped to multiply x ``(B, ...)``."""
    return coefficient.reshape(-1, *[1] * (x.ndim - 1))


def _tensors(network: Any) -> Iterator[Tensor]:
    if isinstance(network, nn.Module):
        yield from chain(network.parameters(), network.buffers())
