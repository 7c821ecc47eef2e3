"""Scores and figures of one input, gathered until its last sample is done."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from vml_fast.cli.problems import Problem
from vml_fast.evaluation import figures, metrics
from vml_fast.solvers import Result


def score(image: Tensor, truth: Tensor | None) -> dict[str, float | None]:
    """PSNR and SSIM of one image, clipped as its picture is; None where undefined.

    Args:
        image: (C, H, W).
        truth: (C, H, W), or None where it is not known.
    """
    if truth is None:
        return {"psnr": None, "ssim": None}
    pair = image[None].clamp(-1.0, 1.0), truth[None]
    values = {"psnr": float(metrics.psnr(*pair)), "ssim": float(metrics.ssim(*pair))}
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


@dataclass
class Drawing:
    """The restorations of one input, and what its figures need of their runs.

    Attributes:
        problem: the inverse problem.
        picture: (1|3, h, w), what to show of the measurement.
    """

    problem: Problem
    picture: Tensor
    restored: list[Tensor] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    residuals: list[list[float]] = field(default_factory=list)
    sigmas: list[float] = field(default_factory=list)
    denoised: list[Tensor] = field(default_factory=list)

    def add(self, image: Tensor, scores: dict[str, float | None], result: Result, row: int) -> None:
        """Take in one restoration, row `row` of its batch."""
        self.restored.append(image)
        self.captions.append(_caption(scores, float(result.residual[row])))
        self.residuals.append([float(state.residual[row]) for state in result.trace])
        if not self.denoised:
            self.sigmas = [state.sigma for state in result.trace]
            kept = [state.denoised for state in result.trace if state.denoised is not None]
            # A copy, so that the batch's tensors can go.
            self.denoised = [images[row].detach().cpu().float().clone() for images in kept]

    def write_comparison(self, path: Path, title: str) -> None:
        """Measurement, restorations, and truth and error where known."""
        figure = figures.comparison(
            self.picture,
            torch.stack(self.restored),
            self.problem.truth,
            title=title,
            captions=self.captions,
        )
        figures.write_figure(path, figure)

    def write_levels(self, path: Path, title: str) -> None:
        """Residual and denoised image over the noise levels."""
        figure = figures.noise_level_figure(
            self.sigmas,
            torch.tensor(self.residuals).T,
            self.denoised,
            noise_std=self.problem.noise_std,
            title=title,
        )
        figures.write_figure(path, figure)


def _caption(scores: dict[str, float | None], residual: float) -> str:
    parts = []
    if scores["psnr"] is not None:
        parts.append(f"PSNR {scores['psnr']:.2f} dB")
    if scores["ssim"] is not None:
        parts.append(f"SSIM {scores['ssim']:.3f}")
    return ", ".join(parts) or f"residual {residual:.2g}"
