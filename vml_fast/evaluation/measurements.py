"""From clean images to measurements: the operator of a task, y = H x + noise, pictures of y."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vml_fast.operators import Inpainting, LinearOperator, preset, task
from vml_fast.ops.philox import normal

SIMULATION_DRAW = 2**31 - 1
"""Of simulated noise: far from the draws of a solver, which count its noise levels from 0."""


def make_operator(
    name: str, image_shape: tuple[int, int, int], *, mask: Any = None, seed: int = 0
) -> LinearOperator:
    """The operator of a task of the command line, or of a published one ("daps/motion_blur").

    Args:
        name: a key of `vml_fast.operators.TASKS` or `PRESETS`.
        image_shape: (C, H, W).
        mask: for "inpaint" only, 1 where observed.
        seed: of the task itself.

    Raises:
        InputError: an unknown name, a missing or superfluous mask, or a shape it does not allow.
    """
    if "/" in name:
        return preset(name, image_shape).operator
    return task(name, image_shape, mask=mask, seed=seed)


def simulate(
    operator: LinearOperator, truth: Tensor, noise_std: float, index: Tensor, seed: int = 0
) -> Tensor:
    """y = H x + noise_std n, with noise that depends on the seed and the image's index alone.

    Args:
        operator: H.
        truth: (B, C, H, W).
        noise_std: sigma_y.
        index: (B,) int64.
        seed: of the noise.

    Returns:
        (B, *measurement_shape).
    """
    clean = operator.forward(truth)
    noise = normal(
        tuple(clean.shape),
        seed=torch.full_like(index, seed),
        sample=index,
        draw=SIMULATION_DRAW,
    )
    return observed(operator, clean + noise_std * noise.to(clean))


def observed(operator: LinearOperator, y: Tensor) -> Tensor:
    """Measurements without what a mask hides: no noise there, and nothing else.

    Args:
        operator: H.
        y: (B, *measurement_shape).
    """
    return operator.forward(y) if isinstance(operator, Inpainting) else y


def is_picture(shape: tuple[int, ...]) -> bool:
    """Whether a measurement of this shape, without a batch, can be looked at: (1|3, h, w)."""
    return len(shape) == 3 and shape[0] in (1, 3)


def measurement_pictures(operator: LinearOperator, y: Tensor, hidden: float = 0.0) -> Tensor:
    """What to show of measurements: themselves, or their pseudo-inverse where they are no pictures.

    Args:
        operator: H.
        y: (B, *measurement_shape).
        hidden: brightness of what a mask hides, in [-1, 1].

    Returns:
        (B, 1|3, h, w).
    """
    if not is_picture(tuple(y.shape[1:])):
        return operator.pseudo_inverse(y)
    if hidden and isinstance(operator, Inpainting):
        return y + hidden * (1.0 - operator.data["mask"].to(y))
    return y
