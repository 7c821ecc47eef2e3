"""Autoencoders between images and latents: diffusers', or one's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from vml_fast.denoisers.base import checked_image_shape
from vml_fast.errors import InputError, one_line


class Autoencoder(nn.Module):
    """Enc and Dec with latents of a chosen scale: ``z = scaling_factor (enc(x) - shift_factor)``.

    The model is used as given: its weights are frozen and it is put in evaluation mode, in place.
    The encoder is deterministic: of a distribution (`AutoencoderKL`) it takes the mode. A
    `VQModel` decodes the nearest code words, with the straight-through derivative of its training.

    Args:
        model: has ``encode(x)`` and ``decode(z)``, which return tensors, or what diffusers' models
            return.
        image_shape: ``(C, H, W)``.
        scaling_factor: of the latents, finite and not 0; diffusers' ``config.scaling_factor`` if
            not given, else 1.
        shift_factor: finite; ``config.shift_factor`` if not given, else 0.
        pixel_unshuffle: f: the model sees ``(C f², H/f, W/f)``, f x f pixels folded into channels.

    Attributes:
        latent_shape: ``(c, h, w)``.

    Raises:
        InputError: an argument is outside its range, or the model does not take or return images
            of this shape.
    """

    def __init__(
        self,
        model: Any,
        image_shape: tuple[int, int, int],
        *,
        scaling_factor: float | None = None,
        shift_factor: float | None = None,
        pixel_unshuffle: int = 1,
    ) -> None:
        super().__init__()
        for name in ("encode", "decode"):
            if not callable(getattr(model, name, None)):
                raise InputError(
                    f"autoencoder must have a method {name}, got a {type(model).__name__}"
                )
        self.image_shape = checked_image_shape(image_shape)
        self.factor = _checked_factor(pixel_unshuffle, self.image_shape)
        self.scaling_factor = _number(model, "scaling_factor", scaling_factor, 1.0)
        self.shift_factor = _number(model, "shift_factor", shift_factor, 0.0)
        if self.scaling_factor == 0:
            raise InputError("scaling_factor must not be 0")
        self.model = model
        if isinstance(model, nn.Module):
            model.requires_grad_(False)
            model.eval()
        self.latent_shape = self._measured_latent_shape()

    @property
    def model_dtype(self) -> torch.dtype | None:
        """The dtype of the model's weights; None for a model without any."""
        parameters = self.model.parameters() if isinstance(self.model, nn.Module) else ()
        return next((p.dtype for p in parameters if p.is_floating_point()), None)

    def encode(self, x: Tensor) -> Tensor:
        """Latents ``(B, c, h, w)`` of images ``(B, C, H, W)`` in [-1, 1], in x's dtype."""
        folded = pixel_unshuffle(x, self.factor)
        found = self.model.encode(folded.to(self.model_dtype or x.dtype))
        for name in ("latent_dist", "latents"):  # AutoencoderKL's and VQModel's outputs
            found = getattr(found, name, found)
        latents = found if isinstance(found, Tensor) else found.mode()
        return self.scaling_factor * (latents.to(x.dtype) - self.shift_factor)

    def decode(self, z: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` of latents ``(B, c, h, w)``, in z's dtype; differentiable."""
        latents = z / self.scaling_factor + self.shift_factor
        found = self.model.decode(latents.to(self.model_dtype or z.dtype))
        image = found if isinstance(found, Tensor) else found.sample
        return pixel_shuffle(image.to(z.dtype), self.factor)

    @torch.no_grad()
    def _measured_latent_shape(self) -> tuple[int, int, int]:
        """By one blank image there and back, which also shows whether the model fits."""
        weights = self.model.parameters() if isinstance(self.model, nn.Module) else ()
        device = next((p.device for p in weights), torch.device("cpu"))
        blank = torch.zeros(1, *self.image_shape, device=device)
        try:
            z = self.encode(blank)
            found = tuple(self.decode(z).shape[1:])
        except (RuntimeError, ValueError, AttributeError, TypeError) as error:
            raise InputError(
                f"autoencoder must take images of shape {self.image_shape}: {one_line(error)}"
            ) from None
        if found != self.image_shape:
            raise InputError(
                f"autoencoder must return images of shape {self.image_shape}, got {found}"
            )
        return checked_image_shape(z.shape[1:])


def _checked_factor(factor: Any, image_shape: tuple[int, int, int]) -> int:
    if type(factor) is not int or factor < 1 or any(side % factor for side in image_shape[1:]):
        raise InputError(
            f"pixel_unshuffle must be a whole number of at least 1 that divides the sides of "
            f"{image_shape}, got {factor!r}"
        )
    return factor


def _number(model: Any, name: str, given: float | None, default: float) -> float:
    """What was given, else what a diffusers configuration says."""
    value = given
    if value is None:
        value = getattr(getattr(model, "config", None), name, None)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise InputError(f"{name} must be a finite number, got {value!r}")
    return float(value)
