"""Moving average of the weights whose length is a fixed share of the run."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vml_fast.errors import InputError


def power_exponent(relative_width: float) -> float:
    """Exponent gamma of a power-function average of this relative standard deviation.

    Karras et al. 2024 (arXiv 2312.02696), section 3.1 and algorithm 2.
    """
    inverse = relative_width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def check_width(relative_width: float) -> None:
    """Raise an InputError unless an average can have this width."""
    if not 0 < relative_width <= 0.28:
        raise InputError(f"ema_width must be in (0, 0.28], got {relative_width}")


class PowerEMA:
    """Weights averaged with the profile t^gamma: w_ema += (1 - beta)(w - w_ema).

    After t steps beta = (1 - 1/t)^(gamma + 1). Unlike a fixed decay it drops the initial weights at
    the first step and needs no length in steps, so it suits a run of unknown length.

    Args:
        module: whose parameters to average.
        relative_width: width of the average as a share of the steps so far, in (0, 0.28].

    Raises:
        InputError: ``relative_width`` is outside its range.
    """

    def __init__(self, module: nn.Module, relative_width: float) -> None:
        check_width(relative_width)
        self.gamma = power_exponent(relative_width)
        self.names = [name for name, _ in module.named_parameters()]
        self.weights = [parameter.detach().clone() for parameter in module.parameters()]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` (1, 2, ...) optimizer steps."""
        beta = (1 - 1 / step) ** (self.gamma + 1)
        torch._foreach_lerp_(self.weights, list(module.parameters()), 1 - beta)

    def tensors(self) -> dict[str, Tensor]:
        """The averaged weights by parameter name."""
        return dict(zip(self.names, self.weights, strict=True))

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Copy averaged weights in, by parameter name."""
        for name, weight in self.tensors().items():
            weight.copy_(tensors[name])

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Copy the averaged weights into a module of the same architecture."""
        for parameter, weight in zip(module.parameters(), self.weights, strict=True):
            parameter.copy_(weight)
