"""From input files to inverse problems: the measurement y of each file."""

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
from vml_fast.evaluation.inputs import read_clean, with_channels, wrong_size
from vml_fast.evaluation.measurements import is_picture, observed, simulate
from vml_fast.operators import Inpainting, LinearOperator


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
            check_size = None if self.mask is None else self.mask.check_size
            truth = read_clean(
                path, self.operator.image_shape, resize=self.resize, check_size=check_size
            )
            noise_std = self.noise_std or 0.0
            y = simulate(self.operator, truth[None], noise_std, torch.tensor([index]), self.seed)[0]
            return Problem(y, noise_std, truth)
        if path.suffix.lower() == ARRAY_SUFFIX:
            noise_std = self.noise_std or 0.0
            y = read_measured_array(path, self.operator, self.mask, noise_std)
        else:
            y, rounding = read_measured_picture(path, self.operator, self.mask, self.resize)
            noise_std = rounding if self.noise_std is None else self.noise_std
        return Problem(observed(self.operator, y[None])[0], noise_std, None)


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
    pixels = with_channels(pixels, shape[0], path)
    if tuple(pixels.shape[-2:]) != shape[1:]:
        if not resize:
            raise wrong_size(path, pixels, shape, ", or --simulate to degrade a clean one")
        fit = images.fit_cells if isinstance(operator, Inpainting) else images.fit
        pixels = fit(pixels, (shape[1], shape[2]))
    return pixels, rounding
