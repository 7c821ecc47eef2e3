"""An operator given as a function."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.linear_operator import DEFAULT_RTOL, LinearOperator
from vml_fast.operators.linear_pair import LinearPair

# Agreement asked of the probes, relative to the sizes involved: float32 with room for a sum over
# many pixels, and far from what a wrong adjoint gives.
_PROBE_TOLERANCE = 1e-3


class LinearMap(LinearOperator):
    """y = forward(x) for a user's own linear function, matrix-free.

    At construction both functions are probed once on a batch of three random images: forward has to
    be additive, and the adjoint has to satisfy <H x, y> = <x, Hᵀy>. There is no SVD: the
    pseudo-inverse runs conjugate gradients, the norm is estimated by power iteration.

    Args:
        forward: (B, C, H, W) -> (B, *measurement_shape), linear, sample by sample.
        image_shape: (C, H, W).
        adjoint: (B, *measurement_shape) -> (B, C, H, W). None takes the transpose by autograd, for
            which `forward` has to be differentiable. With an adjoint, `forward` may be anything,
            NumPy included, and autograd still passes through.
        device: where the probes live.
        dtype: dtype of the probes, torch.float32 or torch.float64.

    Raises:
        InputError: a probe failed.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        image_shape: tuple[int, int, int],
        adjoint: Callable[[Tensor], Tensor] | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        rtol: float = DEFAULT_RTOL,
    ) -> None:
        for name, function in (("forward", forward), ("adjoint", adjoint)):
            if not (callable(function) or (name == "adjoint" and function is None)):
                raise InputError(f"{name} is a {type(function).__name__}; allowed: a function")
        shape = checks.image_shape(image_shape)
        self._function, self._transpose = forward, adjoint
        self._device, self._dtype = torch.device(device), dtype
        x, y = self._probe_forward(shape)
        super().__init__(shape, tuple(y.shape[1:]), rtol=rtol)
        self._probe_adjoint(x, y)

    def _arguments(self) -> dict[str, Any]:
        return {
            "forward": self._function,
            "image_shape": self.image_shape,
            "adjoint": self._transpose,
            "device": self._device,
            "dtype": self._dtype,
            "rtol": self.rtol,
        }

    def _variant(self) -> tuple[Hashable, ...]:
        return self._function, self._transpose

    def _probe(self) -> tuple[torch.device, torch.dtype]:
        return self._device, self._dtype

    def _forward(self, x: Tensor) -> Tensor:
        if self._transpose is None:
            return self._function(x)
        return LinearPair.apply(x, self._function, self._transpose)

    def _adjoint(self, y: Tensor) -> Tensor:
        transpose = self._autograd_transpose if self._transpose is None else self._transpose
        return LinearPair.apply(y, transpose, self._function)

    def _autograd_transpose(self, y: Tensor) -> Tensor:
        # Inference tensors cannot enter a graph, so leave that mode and copy what came from it.
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros(
                y.shape[0], *self.image_shape, dtype=y.dtype, device=y.device, requires_grad=True
            )
            measured = self._function(x)
            if not measured.requires_grad:
                raise InputError(
                    "forward of LinearMap is not differentiable by autograd; give adjoint="
                )
            cotangent = y.clone() if y.is_inference() else y.detach()
            return torch.autograd.grad(measured, x, cotangent)[0]

    # --- probes ---------------------------------------------------------------------------------

    def _probe_forward(self, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        x = torch.cat([x, x.sum(0, keepdim=True)]).to(self._device, self._dtype)
        with torch.no_grad():
            y = self._function(x)
        if not isinstance(y, Tensor) or y.ndim < 2 or y.shape[0] != 3:
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise InputError(
                f"forward of LinearMap returned {got} for a batch of 3; allowed: (3, ...)"
            )
        if y.dtype != x.dtype or not bool(torch.isfinite(y).all()):
            raise InputError(
                f"forward of LinearMap returned {y.dtype} with finite entries "
                f"{bool(torch.isfinite(y).all())}; allowed: finite numbers of x's dtype, {x.dtype}"
            )
        gap = (y[0] + y[1] - y[2]).norm()
        if gap > _PROBE_TOLERANCE * y.norm():
            raise InputError(
                f"forward of LinearMap is not linear: |H(a) + H(b) - H(a + b)| is "
                f"{float(gap):.2g}, allowed: 0 up to rounding"
            )
        return x, y

    def _probe_adjoint(self, x: Tensor, y: Tensor) -> None:
        generator = torch.Generator().manual_seed(1)
        probe = torch.randn(y.shape, generator=generator, dtype=torch.float64)
        probe = probe.to(self._device, self._dtype)
        with torch.no_grad():
            back = self._adjoint(probe)
        if not isinstance(back, Tensor) or back.shape != x.shape:
            got = tuple(back.shape) if isinstance(back, Tensor) else type(back).__name__
            raise InputError(
                f"adjoint of LinearMap returned {got} for y of shape {tuple(probe.shape)}; "
                f"allowed: {tuple(x.shape)}"
            )
        left, right = (y * probe).flatten(1).sum(1), (x * back).flatten(1).sum(1)
        scale = y.flatten(1).norm(dim=1) * probe.flatten(1).norm(dim=1)
        if bool(((left - right).abs() > _PROBE_TOLERANCE * scale).any()):
            raise InputError(
                f"adjoint of LinearMap is not the transpose of forward: <H x, y> is "
                f"{left.tolist()}, <x, adjoint(y)> is {right.tolist()}"
            )
