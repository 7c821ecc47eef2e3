"""Perceptual distances that learned networks give, where their weights are on this machine.

Nothing is ever downloaded. LPIPS (Zhang et al. 2018) needs torchmetrics, torchvision and AlexNet's
weights in torch's hub folder. ST-LPIPS, the shift-tolerant LPIPS (Ghildyal and Liu, ECCV 2022), is
another metric with other numbers; its whole network comes with the package `stlpips-pytorch`, of
which only the weights are read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vml_fast.errors import InputError

Measure = Callable[[Tensor, Tensor], Tensor]
"""Images and truth, (B, 3, H, W) in [-1, 1], to (B,): 0 for equal ones."""

ALEXNET = "alexnet-owt-7be5be79.pth"
"""torchvision's file of AlexNet's weights, under the hub folder's `checkpoints`."""
SHIFT_TOLERANT = Path("weights", "vST0.0", "alex_shift_tolerant.pth")
LEAST_SIDE = 32
"""Smaller images leave nothing of AlexNet's last feature maps."""

_CONVOLUTIONS = {
    # name in the state dict: padding
    "net.slice1.0": 2,
    "net.slice2.5": 2,
    "net.slice3.9": 1,
    "net.slice4.11": 1,
    "net.slice5.13": 1,
}


def perceptual_measures(image_shape: tuple[int, int, int]) -> tuple[dict[str, Measure], list[str]]:
    """The perceptual distances that can be computed here.

    Args:
        image_shape: (C, H, W) of the images.

    Returns:
        Measures by name, "lpips" and "st_lpips", and a sentence for each that is missing.
    """
    found: dict[str, Measure] = {}
    missing = []
    if image_shape[0] != 3 or min(image_shape[1:]) < LEAST_SIDE:
        reason = f"needs color images of at least {LEAST_SIDE} pixels"
        return {}, [f"LPIPS and ST-LPIPS: {reason}, these are {image_shape}"]
    for name, title, make in (("lpips", "LPIPS", _lpips), ("st_lpips", "ST-LPIPS", _st_lpips)):
        made = make()
        if isinstance(made, str):
            missing.append(f"{title}: {made}")
        else:
            found[name] = made
    return found, missing


def _lpips() -> Measure | str:
    """LPIPS with AlexNet, or why not."""
    for package in ("torchvision", "torchmetrics"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    weights = Path(torch.hub.get_dir(), "checkpoints", ALEXNET)
    if not weights.is_file():
        return f"the backbone's weights are not at {weights}"
    image = importlib.import_module("torchmetrics.image")
    metric = image.LearnedPerceptualImagePatchSimilarity(net_type="alex", reduction="mean")
    return partial(_image_by_image, metric)


def _image_by_image(metric: Callable[[Tensor, Tensor], Tensor], x: Tensor, truth: Tensor) -> Tensor:
    """A metric of torchmetrics, which refuses NaN; a diverged image has none."""
    finite = x.isfinite().flatten(1).all(dim=1).tolist()
    pairs = zip(finite, x.clamp(-1, 1).split(1), truth.split(1), strict=True)
    values = [metric(a, b) if known else x.new_tensor(torch.nan) for known, a, b in pairs]
    return torch.stack(values).double()


def _st_lpips() -> Measure | str:
    """ST-LPIPS with AlexNet, or why not."""
    spec = importlib.util.find_spec("stlpips_pytorch")
    if spec is None or spec.origin is None:
        return "stlpips-pytorch is not installed (extra `perceptual`)"
    path = Path(spec.origin).parent / SHIFT_TOLERANT
    if not path.is_file():
        return f"its weights are not at {path}"
    return ShiftTolerantLPIPS(torch.load(path, map_location="cpu", weights_only=True))


class ShiftTolerantLPIPS:
    """ST-LPIPS: weighted squared distances of unit features of an AlexNet without aliasing.

    Against AlexNet its first convolution has stride 1, and every reduction by 2 is a blur after a
    reflection of 2 pixels.

    Args:
        weights: the authors' state dict.

    Raises:
        InputError: another state dict.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        needed = {f"{name}.{part}" for name in _CONVOLUTIONS for part in ("weight", "bias")}
        needed |= {f"lin{i}.model.1.weight" for i in range(5)}
        needed |= {"scaling_layer.shift", "scaling_layer.scale"}
        lacking = needed - weights.keys()
        if lacking:
            raise InputError(f"weights lack {', '.join(sorted(lacking))} of ST-LPIPS")
        self.weights = {name: weights[name].float() for name in needed}

    @torch.no_grad()
    def __call__(self, images: Tensor, truth: Tensor) -> Tensor:
        """(B,) float64 distances of (B, 3, H, W) images in [-1, 1]; the images are clipped."""
        pairs = zip(self._features(images.clamp(-1, 1)), self._features(truth), strict=True)
        total = torch.zeros(len(images), dtype=torch.float64)
        for i, (a, b) in enumerate(pairs):
            weighted = F.conv2d((a - b).square(), self.weights[f"lin{i}.model.1.weight"])
            total += weighted.flatten(1).mean(dim=1).double()
        return total

    def _features(self, images: Tensor) -> list[Tensor]:
        weights = self.weights
        h = images.detach().cpu().float() - weights["scaling_layer.shift"]
        h = h / weights["scaling_layer.scale"]
        features = []
        for i, (name, padding) in enumerate(_CONVOLUTIONS.items()):
            if i in (1, 2):
                h = _halve(F.max_pool2d(h, 3, stride=1))
            h = F.conv2d(h, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)
            h = F.relu(_halve(h) if i == 0 else h)
            features.append(h / (h.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return features


def _halve(h: Tensor) -> Tensor:
    """Every other position of a binomial blur of 3×3 taps, after a reflection of 2 pixels."""
    taps = torch.tensor([0.25, 0.5, 0.25])
    kernel = (taps[:, None] * taps).expand(h.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(h, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=h.shape[1])
