"""What `profile` and `bench` measure: the settings, and the solve that they stand for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from vml_fast.checks import check_count
from vml_fast.cli.checks import check_name
from vml_fast.cli.environment import check_backend
from vml_fast.cli.priors import load_image_prior
from vml_fast.devices import find_device
from vml_fast.errors import InputError
from vml_fast.evaluation.workload import Workload, make_workload
from vml_fast.operators import TASKS
from vml_fast.solvers import METHODS
from vml_fast.solvers.checks import check_noise_std


@dataclass(frozen=True)
class MeasureSettings:
    """The options of the command, under their names there; see its help."""

    task: str
    prior: str
    method: str
    noise_std: float
    steps: int
    inner_steps: int
    batch_size: int
    device: str
    backend: str

    def check(self) -> torch.device:
        """The device.

        Raises:
            InputError, BackendUnavailable: a value is outside what is allowed or available here.
        """
        check_name("--task", self.task, TASKS)
        if self.task == "inpaint":
            raise InputError("--task inpaint needs a mask; measure random70 or box instead")
        check_name("--method", self.method, METHODS)
        check_noise_std(self.noise_std, name="--noise-std")
        for name in ("steps", "inner_steps", "batch_size"):
            check_count(f"--{name.replace('_', '-')}", getattr(self, name), 1)
        device = find_device(self.device, "--device")
        check_backend(self.backend, device)
        return device

    def workload(self, device: torch.device) -> Workload:
        """The solve, with the prior as it was trained."""
        denoiser = load_image_prior("--prior", self.prior, device)
        return make_workload(
            denoiser,
            self.task,
            batch=self.batch_size,
            steps=self.steps,
            inner_steps=self.inner_steps,
            method=self.method,
            noise_std=self.noise_std,
        )

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def describe(settings: MeasureSettings) -> str:
    """What is solved, in words."""
    return (
        f"{settings.prior}, {settings.task}, {settings.method}, batch {settings.batch_size}, "
        f"{settings.steps} × {settings.inner_steps} steps"
    )
