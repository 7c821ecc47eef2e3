"""Distances between two sets of images, by features: Fréchet's and the kernel distance.

They are FID and KID (Heusel et al. 2017; Binkowski et al. 2018) only on the Inception network's
features; on others they are named after those. Both need many images to say much: Fréchet's grows
with the number of features over the number of images, the kernel distance is unbiased.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vml_fast.errors import InputError, require
from vml_fast.evaluation.images import to_uint8

FEATURE_SIGMA = 0.1
"""Noise level at which a denoiser's features are taken: small, but one it was trained on."""


class Features(NamedTuple):
    """Features of images.

    Attributes:
        name: what they are, for the reports.
        compute: (B, C, H, W) in [-1, 1] to (B, d).
        distances: names of Fréchet's distance and of the kernel distance on them.
    """

    name: str
    compute: Callable[[Tensor], Tensor]
    distances: tuple[str, str] = ("frechet", "kernel")


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|m_a - m_b|² + Tr(C_a + C_b - 2 (C_a C_b)^½) of two sets of features.

    Args:
        a: (A, d), at least two.
        b: (B, d), at least two.

    Raises:
        InputError: other shapes.
    """
    a, b = _checked(a, b)
    centered = [(set_ - set_.mean(dim=0)) / (len(set_) - 1) ** 0.5 for set_ in (a, b)]
    # The eigenvalues of C_a C_b are the squared singular values of A Bᵀ, C = AᵀA.
    cross = torch.linalg.svdvals(centered[0] @ centered[1].T).sum()
    spread = sum(part.square().sum() for part in centered)
    return float((a.mean(dim=0) - b.mean(dim=0)).square().sum() + spread - 2.0 * cross)


def kernel_distance(a: Tensor, b: Tensor, *, paired: bool = False) -> float:
    """The unbiased squared maximum mean discrepancy with KID's kernel, (xᵀy / d + 1)³.

    Args:
        a: (A, d), at least two.
        b: (B, d), at least two.
        paired: whether row i of both is of one image, as for a restoration and its truth: such
            pairs are then left out, since they are no independent draws.

    Raises:
        InputError: other shapes.
    """
    a, b = _checked(a, b)
    if paired and len(a) != len(b):
        raise InputError(f"paired sets must be equally many, got {len(a)} and {len(b)}")

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1.0) ** 3

    def without_diagonal(gram: Tensor) -> Tensor:
        return (gram.sum() - gram.diagonal().sum()) / (len(gram) * (len(gram) - 1))

    across = without_diagonal(kernel(a, b)) if paired else kernel(a, b).mean()
    within = without_diagonal(kernel(a, a)) + without_diagonal(kernel(b, b))
    return float(within - 2.0 * across)


def prior_features(denoiser: Any, name: str) -> Features | None:
    """The middle block of a denoiser's U-Net, averaged over positions, at `FEATURE_SIGMA`.

    Args:
        denoiser: a `ScaledDenoiser` around a network with a `mid_block` (diffusers' U-Nets).
        name: of the prior.

    Returns:
        The features, or None where there is no such block.
    """
    network = getattr(denoiser, "network", None)
    modules = network.modules() if isinstance(network, torch.nn.Module) else ()
    block = next((m.mid_block for m in modules if hasattr(m, "mid_block")), None)
    if not isinstance(block, torch.nn.Module):
        return None

    @torch.no_grad()
    def compute(images: Tensor) -> Tensor:
        kept: list[Tensor] = []
        handle = block.register_forward_hook(lambda _, __, output: kept.append(output))
        try:
            denoiser(images, torch.full((len(images),), FEATURE_SIGMA).to(images))
        finally:
            handle.remove()
        return kept[0].detach().float().mean(dim=(2, 3))

    title = f"middle block of the U-Net of {name} at σ = {FEATURE_SIGMA:g}, mean over positions"
    return Features(title, compute)


def inception_features(weights: Path) -> Features:
    """The Inception network of FID and KID, through torch-fidelity; nothing is downloaded.

    Args:
        weights: torch-fidelity's `weights-inception-2015-12-05-6726825d.pth`, from the user.

    Raises:
        InputError: there is no such file, or it holds something else.
        MissingExtra: torch-fidelity is not installed.
    """
    if not weights.is_file():
        raise InputError(f"inception weights {weights} are no file; give torch-fidelity's .pth")
    module = require("torch_fidelity.feature_extractor_inceptionv3", "fid")
    try:
        network = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
        ).eval()
    except Exception as error:  # torch and the package raise many kinds, all about the file
        raise InputError(f"{weights} does not hold the weights of FID's Inception") from error

    @torch.no_grad()
    def compute(images: Tensor) -> Tensor:
        return network(to_uint8(images))[0].float()

    return Features("Inception-v3 of 2015 (FID and KID themselves)", compute, ("fid", "kid"))


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise InputError(
            f"features have the shapes {tuple(a.shape)} and {tuple(b.shape)}; both must be (B, d) "
            "with at least 2 images"
        )
    return a.detach().cpu().double(), b.detach().cpu().double()
