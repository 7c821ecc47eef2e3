"""Training run of a consistency model, distilled from an EDM prior."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.errors import InputError
from vml_fast.training.consistency_loss import (
    FEWEST_LEVELS,
    ConsistencyNetwork,
    consistency_loss,
    follow,
    level_below,
)
from vml_fast.training.heldout import flow_table
from vml_fast.training.loss import PreconditionedNetwork
from vml_fast.training.prior_folder import DenoiserRecord
from vml_fast.training.settings import TrainingSettings
from vml_fast.training.train import Trainer

FLOW_IMAGES = 16


@dataclass(frozen=True)
class ConsistencySettings(TrainingSettings):
    """What decides the result of a distillation, apart from the images.

    The architecture, ``sigma_data`` and ``noise_scale`` are the teacher's.

    Attributes:
        teacher: embedded prior or prior folder of kind "edm", which the student starts from too.
        levels: noise levels whose step separates the two points of a pair at the end of the run;
            from `FEWEST_LEVELS` they grow geometrically with the share of the run that is done.
        target_decay: of the average of weights that gives the target, in [0, 1).

    Raises:
        InputError: a value is outside its range.
    """

    learning_rate: float = 3e-4
    warmup_steps: int = 50
    noise_mean: float = 0.0
    noise_std: float = 2.0
    teacher: str = ""
    levels: int = 20
    target_decay: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init is not None:
            raise InputError(
                f"init must be None, since the student begins as its teacher, got {self.init}"
            )
        if not FEWEST_LEVELS <= self.levels <= 10_000:
            raise InputError(f"levels must be in {FEWEST_LEVELS}…10000, got {self.levels}")
        if not 0 <= self.target_decay < 1:
            raise InputError(f"target_decay must be in [0, 1), got {self.target_decay}")


class ConsistencyTrainer(Trainer):
    """One distillation in one folder, with the files of `Trainer`.

    Args:
        folder: the images.
        out: run folder.
        settings: what decides the result, the teacher among it.
        **options: of `Trainer`.

    Raises:
        InputError: an argument is outside what is allowed; nothing has been written.
        MissingExtra: diffusers is not installed.
    """

    settings: ConsistencySettings

    def _network(self) -> tuple[PixelUnshuffled, DenoiserRecord]:
        """The student's F, which begins as the teacher's."""
        network, record = self._network_of(self.settings.teacher)
        teacher = PreconditionedNetwork(
            copy.deepcopy(network), record.sigma_data, record.noise_scale
        )
        self.teacher = self._constant(teacher)
        self.record = replace(record, kind="consistency")
        self.target = self._constant(self._denoiser(copy.deepcopy(network)))
        return network, self.record

    def _constant(self, model: PreconditionedNetwork) -> PreconditionedNetwork:
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.eval().requires_grad_(False)

    def _denoiser(self, network: nn.Module) -> ConsistencyNetwork:
        record = self.record
        return ConsistencyNetwork(network, record.sigma_data, record.noise_scale, record.sigma_min)

    def levels(self) -> float:
        """How many noise levels the step of a pair is taken from, at this point of the run."""
        return FEWEST_LEVELS * (self.settings.levels / FEWEST_LEVELS) ** self.progress()

    def batch_loss(self, images: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """`consistency_loss`, at levels between the record's two."""
        record = self.record
        sigma = sigma.clamp(record.sigma_min, record.sigma_max)
        below = level_below(sigma, self.levels(), record.sigma_min, record.sigma_max)
        return consistency_loss(
            self.model, self.target, self.teacher, images, sigma, below, noise, record.sigma_data
        )

    def train_step(self) -> tuple[float, float]:
        """One optimizer step of the student; the target follows."""
        result = super().train_step()
        follow(self.target, self.model, self.settings.target_decay)
        return result

    def tensors(self) -> dict[str, Tensor]:
        """As for every run, and the target."""
        target = {f"target.{name}": weight for name, weight in self.target.named_parameters()}
        return super().tensors() | target

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        super().load_tensors(tensors)
        for name, weight in self.target.named_parameters():
            weight.copy_(tensors[f"target.{name}"])

    def sample(self, noise: Tensor) -> Tensor:
        """Images by one pass of C from noise of the largest level."""
        top = self.record.sigma_max
        return self.averaged(top * noise, noise.new_full((len(noise),), top))

    def about(self) -> str:
        """First paragraph of the model card."""
        size = self.settings.size
        return (
            f"A consistency model of {size}x{size} color images, distilled with "
            "`vml-fast train-prior --consistency`.\n"
        )

    def measures(self) -> dict[str, Any]:
        """As for every run, and how far C and the teacher are from the end of the ODE."""
        measured = super().measures()
        if not self.split.heldout:
            return measured
        measured["flow_rmse"], measured["flow_rmse_teacher"] = flow_table(
            (self.averaged, self.teacher),
            self.teacher,
            self.heldout_images()[:FLOW_IMAGES],
            self.settings.seed,
            self.device,
        )
        return measured
