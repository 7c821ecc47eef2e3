"""The run behind `vml-fast train-prior`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import typer

from vml_fast.cli.checks import naming_options
from vml_fast.errors import InputError
from vml_fast.training.data import ImageFolder, load_image_folder
from vml_fast.training.distill import ConsistencySettings, ConsistencyTrainer
from vml_fast.training.latent import check_latent_run_folder, train_latent_prior
from vml_fast.training.latent_settings import latent_settings
from vml_fast.training.run_folder import PRIOR, check_run_folder
from vml_fast.training.settings import TrainingSettings
from vml_fast.training.train import Trainer

ARGUMENTS = (
    *(field.name for field in fields(TrainingSettings)),
    "data", "device", "snapshot_minutes", "latent_channels", "autoencoder_channels",
    "autoencoder_share",
)  # fmt: skip
OPTIONS = {name: f"--{name.replace('_', '-')}" for name in ARGUMENTS} | {
    "out": "--output",
    "batch": "--batch-size",
    "precision": "--dtype",
    "noise_mean": "--log-sigma-mean",
    "noise_std": "--log-sigma-std",
}
"""The option of each argument of the library that an error may name."""
NETWORK = ("channels", "layers", "attention", "unshuffle")


@dataclass(frozen=True)
class TrainPriorRun:
    """What is trained, and how; see the command's help.

    Attributes:
        data: folder of the images.
        output: run folder.
        settings: fields of `TrainingSettings`, but those that were left to it.
        running: options of the trainers.
        consistency: distil a consistency model from the prior ``settings["init"]``.
        latent: for a latent prior, the arguments of `latent_settings`.
    """

    data: Path
    output: Path
    settings: dict[str, Any]
    running: dict[str, Any]
    consistency: bool
    latent: dict[str, Any] | None

    def run(self) -> None:
        """Train, and print where the prior is.

        Raises:
            InputError, MissingExtra: something cannot be used; nothing was written.
            typer.Exit: the loss is not finite any more (1), or the run was stopped (130).
        """
        try:
            with naming_options(OPTIONS):
                self._check()
                summary = self._train()
        except FloatingPointError as error:
            typer.echo(f"error: {error}.", err=True)
            raise typer.Exit(1) from None
        if not summary["final"]:
            typer.echo(f"stopped at step {summary['step']}; continue with --resume")
            raise typer.Exit(130)
        typer.echo(f"{self.output / PRIOR}: trained for {summary['step']} steps")

    def _check(self) -> None:
        """Raise an InputError for options that exclude each other."""
        init = self.settings.get("init")
        if self.consistency and not init:
            raise InputError("--init must name the prior to distil with --consistency, got nothing")
        if self.latent is not None and (self.consistency or init is not None):
            raise InputError("--latent must be given without --consistency and --init")
        for name in NETWORK:
            if init is not None and name in self.settings:
                raise InputError(
                    f"{name} must be left out with --init {init}, whose network is taken, "
                    f"got {self.settings[name]}"
                )

    def _train(self) -> dict[str, Any]:
        """The summary of the run."""
        if self.latent is not None:
            both = latent_settings(TrainingSettings(**self.settings), **self.latent)
            check_latent_run_folder(self.output, self.running["resume"])
            return train_latent_prior(self._images(), self.output, both, **self.running)
        trainer, settings = self._trainer()
        check_run_folder(self.output, self.running["resume"])
        return trainer(self._images(), self.output, settings, **self.running).run()

    def _trainer(self) -> tuple[type[Trainer], TrainingSettings]:
        """What trains a prior of images, or a consistency model, and its settings."""
        if self.consistency:
            rest = {name: value for name, value in self.settings.items() if name != "init"}
            return ConsistencyTrainer, ConsistencySettings(**rest, teacher=self.settings["init"])
        settings = TrainingSettings(**self.settings)
        if settings.init is None:
            settings.check_network()  # before the images are read
        return Trainer, settings

    def _images(self) -> ImageFolder:
        return load_image_folder(self.data, self.settings["size"])
