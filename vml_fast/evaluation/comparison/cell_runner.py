"""Runs a cell: measures the images, restores them, says how good that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.evaluation import metrics
from vml_fast.evaluation.comparison.budgets import CONSISTENCY_METHODS
from vml_fast.evaluation.comparison.cells import INTERPOLATIONS, Cell
from vml_fast.evaluation.comparison.dataset import DataSet
from vml_fast.evaluation.distances import Features, frechet_distance, kernel_distance
from vml_fast.evaluation.interpolation import bicubic
from vml_fast.evaluation.measurements import make_operator, simulate
from vml_fast.evaluation.perceptual import Measure
from vml_fast.operators import LinearOperator
from vml_fast.solvers import restore

DIRECTIONS = {"psnr": +1, "ssim": +1, "residual": 0, "lpips": -1, "st_lpips": -1}
"""Metric to whether more (+1) or less (-1) is better; 0 where it depends on the noise."""

METRIC_BATCH = 16
"""Images that are measured at once: the features of hundreds would not fit into memory."""


@dataclass
class Outcome:
    """What a cell gave.

    Attributes:
        record: JSON: metrics, counts and seconds; or "failed", why there is nothing.
        images: (B, C, H, W) restorations, clipped; None where it failed.
    """

    record: dict[str, Any]
    images: Tensor | None


@dataclass
class CellRunner:
    """Runs the cells of a comparison; holds all that they share.

    Attributes:
        denoiser: the prior, D(x, sigma).
        data: the images; a cell with fewer takes a part of them, spread evenly.
        consistency: C(x, sigma) for the methods that need one.
        seed: of every random number.
        device: where the methods run.
        backend: of the fused ops.
        measures: perceptual distances, by name.
        features: for the distances between sets.
        progress: whether the methods show a bar.
    """

    denoiser: Callable[..., Tensor]
    data: DataSet
    consistency: Callable[..., Tensor] | None = None
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    backend: str = "auto"
    measures: Mapping[str, Measure] = field(default_factory=dict)
    features: Sequence[Features] = ()
    progress: bool = False
    _operators: dict[str, LinearOperator] = field(default_factory=dict, repr=False)
    _truth_features: dict[tuple[str, int], Tensor] = field(default_factory=dict, repr=False)

    def operator(self, task: str) -> LinearOperator:
        """H of a task, made once."""
        if task not in self._operators:
            shape = self.data.images.shape[1:]
            self._operators[task] = make_operator(task, (shape[0], shape[1], shape[2]))
        return self._operators[task]

    def measurement(self, cell: Cell) -> Tensor:
        """y of the cell's images."""
        part = self.data.part(cell.images)
        operator = self.operator(cell.task)
        return simulate(operator, part.images, cell.noise_std, part.index, self.seed)

    def run(self, cell: Cell) -> Outcome:
        """Restore the images of a cell and measure the result.

        A method that cannot do the task gives an outcome that says so; a bad argument of the
        comparison itself is an error.

        Raises:
            InputError: an unknown task, too many images.
        """
        part = self.data.part(cell.images)
        operator, y = self.operator(cell.task), self.measurement(cell)
        try:
            image, spent = self._restore(cell, operator, y, part.index)
        except InputError as error:
            return Outcome({"failed": str(error)}, None)
        picture = image.clamp(-1, 1)
        record: dict[str, Any] = {
            "names": part.names,
            "metrics": self._metrics(picture, part.images)
            | {"residual": numbers(operator.residual(image, y))},
            "sets": self._sets(picture, cell.images),
            **spent,
        }
        return Outcome(record, picture)

    def _restore(
        self, cell: Cell, operator: LinearOperator, y: Tensor, index: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        if cell.method in INTERPOLATIONS:
            make = operator.pseudo_inverse if cell.method == "pseudo-inverse" else None
            image = bicubic(operator, y) if make is None else make(y)
            return image, {"denoiser_calls": 0, "vjp_calls": 0, "seconds": 0.0}
        told = cell.noise_std if cell.assumed_noise_std is None else cell.assumed_noise_std
        settings = dict(cell.settings)
        if cell.method in CONSISTENCY_METHODS:
            settings["consistency"] = self.consistency
        result = restore(
            y.to(self.device),
            operator,
            self.denoiser,
            method=cell.method,
            noise_std=told,
            seed=self.seed,
            sample_index=index.tolist(),
            backend=self.backend,
            progress=self.progress,
            **settings,
        )
        return result.image.cpu(), {
            "denoiser_calls": result.denoiser_calls,
            "vjp_calls": result.vjp_calls,
            "seconds": round(result.seconds, 2),
        }

    def _metrics(self, picture: Tensor, truth: Tensor) -> dict[str, Any]:
        """Metrics of each image; those that images of this size do not have are left out."""
        wanted: dict[str, Measure] = {"psnr": metrics.psnr}
        if min(picture.shape[-2:]) >= metrics.SSIM_WINDOW:
            wanted["ssim"] = metrics.ssim
        wanted |= self.measures
        parts = list(zip(picture.split(METRIC_BATCH), truth.split(METRIC_BATCH), strict=True))
        return {
            name: numbers(torch.cat([measure(*part) for part in parts]))
            for name, measure in wanted.items()
        }

    def _sets(self, picture: Tensor, count: int) -> dict[str, Any]:
        """Distances between the restored set and the true one."""
        if count < 2 or not bool(torch.isfinite(picture).all()):
            return {}
        found = {}
        for features in self.features:
            key = features.name, count
            if key not in self._truth_features:
                truth = self.data.part(count).images.to(self.device)
                self._truth_features[key] = features.compute(truth)
            pair = features.compute(picture.to(self.device)), self._truth_features[key]
            frechet, kernel = features.distances
            found[frechet] = frechet_distance(*pair)
            found[kernel] = kernel_distance(*pair, paired=True)
        return found


def numbers(values: Tensor) -> list[float | str]:
    """A tensor as JSON: what is not finite as "inf", "-inf" or "nan", which `float` reads."""
    return [v if math.isfinite(v) else str(v) for v in values.double().tolist()]
