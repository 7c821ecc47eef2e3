"""The network F as an inner step sees it: a forward, and a product with its Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vml_fast.denoisers.base import ScaledDenoiser, Scalings
from vml_fast.errors import InputError
from vml_fast.runtime import jacobian
from vml_fast.runtime.memory import Memory

Denoiser = Callable[..., Tensor]
Product = Callable[[Tensor], Tensor]


def scalings_at(denoiser: Denoiser, sigma: Tensor) -> Scalings:
    """c_skip, c_out, c_in, c_noise; a plain callable is its own network: D = F(x; sigma)."""
    if isinstance(denoiser, ScaledDenoiser):
        return denoiser.scalings(sigma)
    one = torch.ones_like(sigma)
    return Scalings(skip=torch.zeros_like(sigma), out=one, input=one, noise=sigma)


def raw_output(
    denoiser: Denoiser, u: Tensor, c_noise: Tensor, condition: Mapping[str, Any]
) -> Tensor:
    """F(u; c_noise), without the skip path and learned variances of an adapter."""
    if isinstance(denoiser, ScaledDenoiser):
        return denoiser.raw(u, c_noise, **condition)
    return denoiser(u, c_noise, **condition)


def check_output(output: Any, denoiser: Denoiser, like: Tensor) -> Tensor:
    """The output, which must be real and of the shape of the denoiser's input.

    Raises:
        InputError: it is not; the message names the denoiser.
    """
    if isinstance(output, Tensor) and output.shape == like.shape and output.is_floating_point():
        return output
    name = getattr(denoiser, "__qualname__", type(denoiser).__name__)
    found = (
        f"a tensor of shape {tuple(output.shape)} and dtype {output.dtype}"
        if isinstance(output, Tensor)
        else f"a {type(output).__name__}"
    )
    raise InputError(
        f"denoiser {name} returned {found}; it must return floating-point images of the shape "
        f"{tuple(like.shape)} of its input."
    )


class Network:
    """F at one noise level and condition, in eager PyTorch.

    Args:
        denoiser: D, any callable; of a `ScaledDenoiser` the network alone.
        product: "vjp", "jvp" or "finite_difference".

    Attributes:
        denoiser: D; None while nobody uses the network.
        dtype: of its weights and input; None where it has no weights.
        memory_format: of its input, which another one would be converted to.
        is_ready: whether the next call only computes; else `prepare` does what comes before.
    """

    is_ready = True

    def __init__(self, denoiser: Denoiser, product: str = "vjp") -> None:
        self.denoiser: Any = denoiser
        self.product = product
        self.dtype: torch.dtype | None = getattr(denoiser, "network_dtype", None)
        acceleration = getattr(denoiser, "acceleration", None)
        last = acceleration is not None and acceleration.channels_last
        self.memory_format = torch.channels_last if last else torch.contiguous_format
        self.memory = Memory()

    def load(self, condition: Mapping[str, Any]) -> None:
        """Take the keywords of a solve; tensors among them keep their place in memory."""
        self.condition = {
            name: self.memory.write(f"condition {name}", value)
            if isinstance(value, Tensor)
            else value
            for name, value in condition.items()
        }

    def set_level(self, c_noise: Tensor, c_in: Tensor, sigma: float, elements: int) -> None:
        """Move to a noise level; an image of `elements` entries is c_in times as long in u."""
        self.noise = self.memory.write("noise", c_noise)
        self.length = self.memory.write(
            "length", jacobian.difference_length(sigma, elements, self.dtype) * c_in
        )

    def as_input(self, image: Tensor) -> Tensor:
        """An image in the dtype and memory format of u."""
        return image.to(self.dtype or image.dtype, memory_format=self.memory_format)

    def prepare(self, u: Tensor) -> None:
        """Do what has to be done once, with an example of the input."""

    def __call__(self, u: Tensor) -> Tensor:
        """F(u)."""
        output = raw_output(self.denoiser, u, self.noise, self.condition)
        return check_output(output, self.denoiser, u)

    def linearize(self, u: Tensor) -> tuple[Tensor, Product]:
        """F(u), and the product with its Jacobian there, which can be taken once."""
        if self.product == "vjp":
            return jacobian.vjp(self, u)
        if self.product == "jvp":
            return jacobian.jvp(self, u)
        return jacobian.finite_difference(self, u, self.length)
