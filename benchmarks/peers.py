"""deepinv's solvers with our network, for the same run: what they are given and what a step costs.

deepinv works on images in [0, 1]; the measurement is the same mask on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import vml_fast as vf
from vml_fast.denoisers import ScaledDenoiser

Solve = Callable[[], Any]
PEERS = ("DPS", "DDRM")
NOISE_STD = 0.05
"""Of y in [-1, 1]: both of deepinv's methods are made for noisy measurements."""


def import_deepinv() -> Any:
    """The package.

    Raises:
        ImportError: it is not installed, or what it needs does not load; the message says which.
    """
    try:
        import deepinv
    except (ImportError, RuntimeError) as error:  # torchvision without its compiled operations
        raise ImportError(f"deepinv does not import: {error}") from error
    return deepinv


class UnitRange(nn.Module):
    """Our denoiser on images in [0, 1], as deepinv calls it: sigma is a number or (B,)."""

    def __init__(self, denoiser: ScaledDenoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, sigma: Any, *args: Any, **kwargs: Any) -> Tensor:
        """D, shifted and scaled."""
        levels = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1)
        return (self.denoiser(2 * x - 1, (2 * levels).expand(len(x))) + 1) / 2


def peer(name: str, denoiser: ScaledDenoiser, images: Tensor, mask: Tensor, steps: int) -> Solve:
    """A solve by deepinv.

    Args:
        name: of `PEERS`.
        denoiser: ours, unaccelerated: deepinv takes float32 networks.
        images: (B, C, H, W) in [-1, 1], to be measured.
        mask: (1, H, W), 1 = observed.
        steps: denoiser calls; DPS takes a derivative at each.
    """
    deepinv = import_deepinv()
    device = images.device
    physics = deepinv.physics.Inpainting(
        tuple(images.shape[1:]),
        mask=mask.to(images).expand(images.shape[1:]),
        noise_model=deepinv.physics.GaussianNoise(NOISE_STD / 2),
        device=device,
    )
    y = physics((images + 1) / 2)
    network = UnitRange(denoiser)
    if name == "DDRM":
        sigmas = torch.linspace(1, 0, steps).tolist()
        solver = deepinv.sampling.DDRM(network, sigmas=sigmas)
    else:
        # a time step less than the points in time
        solver = deepinv.sampling.DPS(network, num_steps=steps + 1, device=device)
    return lambda: solver(y, physics)


def ours(name: str, denoiser: ScaledDenoiser, images: Tensor, mask: Tensor, steps: int) -> Solve:
    """Our solve by the same method, with the same number of denoiser calls."""
    operator = vf.operators.Inpainting(denoiser.image_shape, mask)
    y = operator.forward(images)
    kinds = {"DPS": vf.DPS, "DDRM": vf.DDRM}
    solver = kinds[name](denoiser, operator, noise_std=NOISE_STD, steps=steps)
    return lambda: solver.solve(y)
