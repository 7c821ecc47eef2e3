"""What every solver shares: its arguments checked, its result, its progress and its noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator


@dataclass(frozen=True)
class State:
    """What a callback and `Result.trace` see after a noise level.

    Attributes:
        level: 0 ... N-1.
        sigma: the noise level.
        residual: (B,) RMS of y - H D over observed entries.
        denoised: (B, C, H, W) D(x, sigma); in `Result.trace` only with keep_images=True.
    """

    level: int
    sigma: float
    residual: Tensor
    denoised: Tensor | None


@dataclass(frozen=True)
class Result:
    """A restoration and what it took.

    Attributes:
        image: (B, C, H, W) in the dtype and on the device of y, not clipped.
        residual: (B,) RMS of y - H image over observed entries.
        denoiser_calls: forwards of the network per image.
        vjp_calls: Jacobian products per image; the sum of both is the budget, "network passes".
        seconds: wall-clock time of the solve.
        trace: one `State` per noise level that was run.
    """

    image: Tensor
    residual: Tensor
    denoiser_calls: int
    vjp_calls: int
    seconds: float
    trace: list[State] = field(default_factory=list)

    @property
    def network_passes(self) -> int:
        """Forwards and Jacobian products together."""
        return self.denoiser_calls + self.vjp_calls


Callback = Callable[[State], object]


def check_count(name: str, value: int, least: int) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
    return value


def check_measurement(y: Tensor, operator: LinearOperator) -> Tensor:
    """y as a finite float tensor of shape (B, *measurement_shape)."""
    if not isinstance(y, Tensor):
        raise InputError(f"y is a {type(y).__name__}; it must be a torch tensor.")
    expected = tuple(operator.measurement_shape)
    if tuple(y.shape[1:]) != expected or y.ndim != len(expected) + 1:
        raise InputError(
            f"y has shape {tuple(y.shape)}; it must be (B, {', '.join(map(str, expected))}), "
            "batch first, for this operator."
        )
    if y.dtype not in (torch.float32, torch.float64):
        raise InputError(f"y has dtype {y.dtype}; it must be float32 or float64.")
    if y.shape[0] == 0:
        raise InputError("y holds no image; its batch size must be at least 1.")
    if not bool(torch.isfinite(y).all()):
        raise InputError("y holds NaN or infinite entries; all must be finite.")
    return y.detach()


def check_per_sample(name: str, values: float | Tensor, batch: int) -> Tensor:
    """A standard deviation or noise level of each sample, (B,) float64 on the CPU."""
    try:
        level = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} is {values!r}; it must be a number or {batch} of them."
        ) from error
    if level.ndim > 1 or (level.ndim == 1 and level.shape[0] != batch):
        raise InputError(
            f"{name} has shape {tuple(level.shape)}; it must be a number or {batch} of them."
        )
    if not bool(torch.isfinite(level).all()) or bool((level < 0).any()):
        raise InputError(f"{name} is {values!r}; it must be finite and at least 0.")
    return level.expand(batch)


def check_image_shape(denoiser: object, operator: LinearOperator) -> None:
    """The denoiser and the operator speak of images of one shape."""
    shape = getattr(denoiser, "image_shape", None)
    if shape is not None and tuple(shape) != tuple(operator.image_shape):
        raise InputError(
            f"the operator's image_shape is {tuple(operator.image_shape)} "
            f"but the denoiser takes {tuple(shape)}; they must be equal."
        )


class Clock:
    """Wall-clock seconds since its making; waits for the device it is told about."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.start = time.perf_counter()

    def seconds(self) -> float:
        """Seconds so far, with all work of the device done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - self.start


def progress_bar(total: int, progress: bool) -> tqdm:
    """A tqdm bar over inner steps, or a silent one."""
    return tqdm(total=total, disable=not progress, unit="step", leave=False)


def show_state(bar: tqdm, state: State) -> None:
    """Write noise level and mean residual behind the bar."""
    bar.set_postfix(sigma=f"{state.sigma:.3g}", residual=f"{float(state.residual.mean()):.2e}")
