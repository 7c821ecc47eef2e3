"""One cell of a comparison: a method on a task at a noise level and a budget."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INTERPOLATIONS = {
    "pseudo-inverse": "H⁺ y, no network",
    "bicubic": "cubic interpolation of y, or of the observed pixels; y itself for a blur",
}
"""What stands beside the methods: results that need no network."""


@dataclass(frozen=True)
class Cell:
    """A method on a task at a noise level and a budget, over the images of a data set.

    Attributes:
        task: a name of `operators.TASKS`, or with a slash one of `operators.PRESETS`.
        method: a name of `METHODS`, `BASELINES` or `INTERPOLATIONS`.
        noise_std: sigma_y of the measurement, images in [-1, 1].
        budget: network passes per image that the settings are for; 0 for interpolations.
        images: how many images.
        settings: keywords of the method's solver.
        assumed_noise_std: sigma_y that the method is told, where that is not the true one.
    """

    task: str
    method: str
    noise_std: float
    budget: int
    images: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    assumed_noise_std: float | None = None

    @property
    def label(self) -> str:
        """The method, and what it is told where that is not true."""
        if self.assumed_noise_std is None:
            return self.method
        told = f"{self.assumed_noise_std:g}"
        return f"{self.method} as if " + ("noiseless" if told == "0" else f"σ_y = {told}")

    @property
    def group(self) -> tuple[float, int, int]:
        """Cells of one table: noise level, budget, number of images."""
        return self.noise_std, self.budget, self.images

    def identity(self) -> dict[str, Any]:
        """All that makes the cell what it is, as JSON."""
        return {
            "task": self.task,
            "method": self.method,
            "noise_std": self.noise_std,
            "budget": self.budget,
            "images": self.images,
            "settings": dict(self.settings),
            "assumed_noise_std": self.assumed_noise_std,
        }

    def name(self, provenance: Mapping[str, Any]) -> str:
        """A file name: what a person reads, and a digest of the cell and where it comes from."""
        whole = json.dumps([self.identity(), provenance], sort_keys=True, allow_nan=False)
        digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
        words = f"{self.task}-{self.label}-{self.noise_std:g}-{self.budget}-{self.images}"
        return f"{re.sub(r'[^A-Za-z0-9.-]+', '_', words)}-{digest}"

    def __str__(self) -> str:
        noise = f"σ_y = {self.noise_std:g}" if self.noise_std else "noiseless"
        budget = f", {self.budget} passes" if self.budget else ""
        return f"{self.task}, {self.label}, {noise}{budget}, {self.images} images"
