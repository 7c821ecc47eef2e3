"""From input files to inverse problems: the operator H, and the measurement y of each file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vml_fast.cli.masks import MaskPicture
from vml_fast.errors import InputError
from vml_fast.evaluation import images
from vml_fast.evaluation.files import ARRAY_SUFFIX
from vml_fast.operators import Inpainting, LinearOperator, task
from vml_fast.ops.philox import normal

# Far from the draws of a solver, which count its noise levels from 0.
SIMULATED_NOISE_DRAW = 2**31 - 1
RANGE_SLACK = 1e-3

ImageShape = tuple[int, int, int]


class Problem(NamedTuple):
    """One inverse problem y = H x + noise.

    Attributes:
        y: measurement_shape, float32.
        noise_std: sigma_y in units of y.
        truth: (C, H, W) in [-1, 1] where it is known.
    """

    y: Tensor
    noise_std: float
    truth: Tensor | None


@dataclass(frozen=True)
class ProblemReader:
    """Makes the inverse problem of each input file of a run.

    Attributes:
        operator: H.
        mask: the mask picture of an inpainting task.
        noise_std: sigma_y; None for what the file says: rounding where it is a degraded picture,
            else 0.
        simulated: whether the files are clean images, to be degraded here.
        resize: whether pictures of another size are resized.
        seed: of the simulated noise.
    """

    operator: LinearOperator
    mask: MaskPicture | None
    noise_std: float | None
    simulated: bool
    resize: bool
    seed: int

    def read(self, path: Path, index: int) -> Problem:
        """The problem of the file at place `index` of the run.

        Raises:
            InputError: the file cannot be used; the message names it.
        """
        if self.simulated:
            truth = read_clean(path, self.operator.image_shape, self.mask, self.resize)
            noise_std = self.noise_std or 0.0
            y = simulate(self.operator, truth, noise_std, self.seed, index)
            return Problem(y, noise_std, truth)
        if path.suffix.lower() == ARRAY_SUFFIX:
            noise_std = self.noise_std or 0.0
            y = read_measured_array(path, self.operator, self.mask, noise_std)
        else:
            y, rounding = read_measured_picture(path, self.operator, self.mask, self.resize)
            noise_std = rounding if self.noise_std is None else self.noise_std
        return Problem(observed(self.operator, y), noise_std, None)


def make_operator(
    name: str, image_shape: ImageShape, mask: MaskPicture | None, seed: int
) -> LinearOperator:
    """The operator of a task, its mask resized where the image will be."""
    if mask is None:
        return task(name, image_shape, seed=seed)
    missing = images.fit_mask(mask.missing, image_shape[1:])
    if bool(missing.all()):
        raise InputError(
            f"mask {mask.path} hides every pixel once resized to "
            f"{image_shape[2]}×{image_shape[1]}; use a larger image or a smaller hidden part"
        )
    return task(name, image_shape, mask=~missing, seed=seed)


def simulate(
    operator: LinearOperator, truth: Tensor, noise_std: float, seed: int, index: int
) -> Tensor:
    """y = H x + noise, the noise keyed by (seed, index of the file).

    Args:
        operator: H.
        truth: (C, H, W).
        noise_std: sigma_y.
        seed: of the noise.
        index: place of the file in the run.
    """
    clean = operator.forward(truth[None])
    noise = normal(
        tuple(clean.shape),
        seed=torch.tensor([seed]),
        sample=torch.tensor([index]),
        draw=SIMULATED_NOISE_DRAW,
    )
    return observed(operator, (clean + noise_std * noise)[0])


def observed(operator: LinearOperator, y: Tensor) -> Tensor:
    """A measurement without what a mask hides: no noise there, and nothing else."""
    return operator.forward(y[None])[0] if isinstance(operator, Inpainting) else y


def read_clean(
    path: Path, image_shape: ImageShape | None, mask: MaskPicture | None, resize: bool
) -> Tensor:
    """A clean image (C, H, W), of the wanted shape if there is one.

    Raises:
        InputError: unreadable, of another size (unless `resize`), or outside [-1, 1].
    """
    is_array = path.suffix.lower() == ARRAY_SUFFIX
    pixels = _clean_array(path, image_shape) if is_array else images.read_picture(path).pixels
    if mask is not None:
        mask.check_size(path, *pixels.shape[-2:])
    if image_shape is None or is_array:
        return pixels
    pixels = _channels(pixels, image_shape[0], path)
    if tuple(pixels.shape[-2:]) == image_shape[1:]:
        return pixels
    if not resize:
        raise _wrong_size(path, pixels, image_shape)
    return images.fit(pixels, image_shape[1:])


def _clean_array(path: Path, image_shape: ImageShape | None) -> Tensor:
    values = images.read_array(path)
    if values.ndim != 3 or (image_shape is not None and tuple(values.shape) != image_shape):
        raise InputError(
            f"input {path} has the shape {tuple(values.shape)}; "
            f"a clean image must be {image_shape or '(C, H, W)'}"
        )
    low, high = float(values.min()), float(values.max())
    if max(-low, high) > 1.0 + RANGE_SLACK:
        raise InputError(
            f"input {path} has values from {low:.3g} to {high:.3g}; "
            "a clean image must be in [-1, 1]"
        )
    return values


def read_measured_array(
    path: Path, operator: LinearOperator, mask: MaskPicture | None, noise_std: float
) -> Tensor:
    """A measurement from a `.npy` file.

    Raises:
        InputError: unreadable, of another shape, or far outside what [-1, 1] images give.
    """
    values = images.read_array(path)
    shape = tuple(operator.measurement_shape)
    if tuple(values.shape) != shape:
        raise InputError(
            f"input {path} has the shape {tuple(values.shape)}; a measurement must be {shape}"
        )
    if mask is not None:
        mask.check_size(path, *shape[-2:])
    # |y| <= s_max |x| + |noise|, twice for the tails of the noise: 0…255 is found out, not 0…1.
    image_norm = math.sqrt(math.prod(operator.image_shape))
    bound = 2.0 * (operator.norm() * image_norm + noise_std * math.sqrt(math.prod(shape)))
    norm = float(values.double().norm())
    if norm > bound:
        raise InputError(
            f"input {path} has the norm {norm:.3g}, but images in [-1, 1] are measured within "
            f"{bound:.3g}; scale it as images in [-1, 1] would be measured"
        )
    return values


def read_measured_picture(
    path: Path, operator: LinearOperator, mask: MaskPicture | None, resize: bool
) -> tuple[Tensor, float]:
    """A measurement from a picture, and the standard deviation of its rounding.

    Raises:
        InputError: unreadable, of another size (unless `resize`), or a task without pictures.
    """
    shape = tuple(operator.measurement_shape)
    if not is_picture(shape):
        raise InputError(
            f"input {path} is a picture, but this task measures numbers of shape {shape}; "
            "give them as .npy, or a clean picture with --simulate"
        )
    pixels, rounding = images.read_picture(path)
    if mask is not None:
        mask.check_size(path, *pixels.shape[-2:])
    pixels = _channels(pixels, shape[0], path)
    if tuple(pixels.shape[-2:]) != shape[1:]:
        if not resize:
            raise _wrong_size(path, pixels, shape, ", or --simulate to degrade a clean one")
        fit = images.fit_cells if isinstance(operator, Inpainting) else images.fit
        pixels = fit(pixels, (shape[1], shape[2]))
    return pixels, rounding


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether a measurement of this shape can be looked at: (1|3, h, w)."""
    return len(shape) == 3 and shape[0] in (1, 3)


def measurement_picture(operator: LinearOperator, y: Tensor) -> Tensor:
    """What to show of a measurement: itself, or its pseudo-inverse where it is no picture."""
    if is_picture(tuple(y.shape)):
        return y
    return operator.pseudo_inverse(y[None])[0]


def _channels(pixels: Tensor, channels: int, path: Path) -> Tensor:
    if channels == 3:
        return pixels
    if channels == 1:
        return pixels.mean(dim=0, keepdim=True)
    raise InputError(f"input {path} is a picture, but {channels} channels are needed; give .npy")


def _wrong_size(
    path: Path, pixels: Tensor, shape: tuple[int, ...], otherwise: str = ""
) -> InputError:
    height, width = pixels.shape[-2:]
    return InputError(
        f"input {path} is {width}×{height} pixels but this prior and task take "
        f"{shape[2]}×{shape[1]}; pass --resize to resize its center{otherwise}"
    )
