"""Training run of an EDM prior."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.errors import InputError
from vml_fast.training.card import model_card
from vml_fast.training.checkpoint import write_text
from vml_fast.training.data import ImageFolder, draw_batch
from vml_fast.training.heldout import level_table
from vml_fast.training.loop import TrainingLoop
from vml_fast.training.loss import PreconditionedNetwork, draw_sigma, edm_loss
from vml_fast.training.network import architecture, build_network
from vml_fast.training.prior_folder import DenoiserRecord, load_prior, save_prior
from vml_fast.training.run_folder import PRIOR, PRIOR_FLOAT16, SUMMARY, read_log
from vml_fast.training.sampling import heun_sample, save_grid
from vml_fast.training.settings import TrainingSettings
from vml_fast.training.split import Split, group_images, split_groups

SAMPLES = 16


class Trainer(TrainingLoop):
    """One training run in one folder.

    Files: ``log.jsonl`` (one JSON object per line), ``checkpoint.safetensors``, ``samples/*.png``,
    ``summary.json``, ``prior/`` (averaged weights) and at the end ``prior-float16/``.

    Args:
        folder: the images.
        out: run folder.
        settings: what decides the result.
        device: name of a torch device, or ``auto``.
        precision: ``float32``, ``bfloat16`` or ``auto``; see `use_bf16`.
        resume: continue the checkpoint in ``out``. The result is that of an uninterrupted run, if
            steps and not minutes end it.
        snapshot_minutes: time between snapshots (checkpoint, prior, held-out error, samples); the
            first one comes after 3 minutes at the latest.
        on_snapshot: called after every snapshot.
        show_progress: whether to show a progress bar.

    Attributes:
        split: the training and held-out images.
        averaged: D with the averaged weights of the last snapshot.

    Raises:
        InputError: an argument is outside what is allowed; nothing has been written.
        MissingExtra: diffusers is not installed.
    """

    def __init__(
        self,
        folder: ImageFolder,
        out: Path,
        settings: TrainingSettings,
        *,
        device: str = "auto",
        precision: str = "auto",
        resume: bool = False,
        snapshot_minutes: float = 10.0,
        on_snapshot: Callable[[Trainer], None] | None = None,
        show_progress: bool = True,
    ) -> None:
        super().__init__(
            out,
            settings,
            device=device,
            precision=precision,
            resume=resume,
            snapshot_minutes=snapshot_minutes,
            show_progress=show_progress,
        )
        self.folder, self.on_snapshot = folder, on_snapshot
        network, self.record = self._network()
        self.optimize_model(self._denoiser(network))
        self.averaged_network = copy.deepcopy(network)
        self.averaged = self._denoiser(self.averaged_network).eval().requires_grad_(False)
        if resume:
            self.load()
        self.split = self._split()

    def _network(self) -> tuple[PixelUnshuffled, DenoiserRecord]:
        """F, and the record of the prior."""
        settings = self.settings
        if settings.init is not None:
            return self._network_of(settings.init)
        size, unshuffle = settings.size, settings.unshuffle
        torch.manual_seed(settings.seed)
        network = build_network(
            size, settings.channels, settings.layers, settings.attention, unshuffle
        )
        return network, DenoiserRecord(
            [3, size, size], settings.sigma_data, settings.noise_scale, unshuffle
        )

    def _network_of(self, init: str) -> tuple[PixelUnshuffled, DenoiserRecord]:
        """F and the record of a prior; the settings get its architecture."""
        size = self.settings.size
        network, record = load_prior(init)
        if record.image_shape != [3, size, size]:
            raise InputError(
                f"init must be a prior for images of size {size}, "
                f"got {init} for {record.image_shape}"
            )
        self.settings = replace(self.settings, **architecture(network, size))
        return network, record

    def _denoiser(self, network: torch.nn.Module) -> PreconditionedNetwork:
        return PreconditionedNetwork(network, self.record.sigma_data, self.record.noise_scale)

    def _split(self) -> Split:
        settings = self.settings
        groups = group_images(self.folder, settings.group_pattern, settings.duplicate_tolerance)
        return split_groups(groups, settings.heldout_fraction, settings.seed)

    def loss(self, generator: torch.Generator) -> Tensor:
        """Mean of `batch_loss` over training images at random noise levels."""
        settings, split = self.settings, self.split
        batch = settings.batch
        images = draw_batch(self.folder.images, split.train, batch, settings.flip, generator)
        sigma = draw_sigma(batch, settings.noise_mean, settings.noise_std, generator)
        noise = torch.randn(images.shape, generator=generator)
        images, noise = (
            tensor.to(self.device, memory_format=torch.channels_last) for tensor in (images, noise)
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.batch_loss(images, sigma.to(self.device), noise).mean()

    def batch_loss(self, images: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """`edm_loss` of each image, ``(B,)``."""
        return edm_loss(self.model, images, sigma, noise, self.record.sigma_data)

    def sample(self, noise: Tensor) -> Tensor:
        """Unconditional images from standard normal noise."""
        return heun_sample(self.averaged, noise, sigma_max=self.record.sigma_max)

    def heldout_images(self) -> Tensor:
        """The first image of each held-out group, ``(N, 3, S, S)`` uint8."""
        return self.folder.images[[members[0] for members in self.split.heldout]]

    def snapshot(self, final: bool = False) -> dict[str, Any]:
        """Write checkpoint, prior, held-out error, samples and summary; returns the summary.

        Args:
            final: the run is over; also store the weights in float16 and measure what that changes.
        """
        self.save()
        self.ema.copy_to(self.averaged)
        network = self.averaged_network
        save_prior(network, self.record, self.out / PRIOR)
        summary = self.summary(final)
        measured = self.measures()
        summary |= measured
        self.log({"heldout_rmse": None} | measured)
        if final:
            save_prior(network, self.record, self.out / PRIOR_FLOAT16, torch.float16)
            if self.split.heldout:
                rounded = copy.deepcopy(self.averaged).half().float()
                summary["float16_drift"] = self._heldout_table(rounded, self.averaged)
        write_text(self.out / SUMMARY, json.dumps(summary, indent=2) + "\n")
        for folder in (PRIOR, PRIOR_FLOAT16) if final else (PRIOR,):
            write_text(self.out / folder / "README.md", self._card(summary))
        self._samples()
        if self.on_snapshot is not None:
            self.on_snapshot(self)
        return summary

    def measures(self) -> dict[str, Any]:
        """What a snapshot measures on held-out images, by its name in the summary."""
        return {"heldout_rmse": self._heldout_table(self.averaged)} if self.split.heldout else {}

    def _heldout_table(
        self, model: PreconditionedNetwork, other: PreconditionedNetwork | None = None
    ) -> dict[str, float]:
        seed = self.settings.seed
        table = level_table(model, self.heldout_images(), seed, other, self.device)
        return {sigma: float(f"{value:.4g}") for sigma, value in table.items()}

    def summary(self, final: bool) -> dict[str, Any]:
        """That of every run, and the sizes of the split."""
        return super().summary(final) | self.split.sizes()

    def _card(self, summary: dict[str, Any]) -> str:
        return model_card(str(self.out / PRIOR), self.about(), summary, read_log(self.out))

    def about(self) -> str:
        """First paragraph of the model card."""
        size = self.settings.size
        return f"A denoiser of {size}x{size} color images, made with `vml-fast train-prior`.\n"

    def _samples(self) -> None:
        size = self.settings.size
        generator = torch.Generator().manual_seed(self.settings.seed)
        noise = torch.randn(SAMPLES, 3, size, size, generator=generator).to(self.device)
        images = self.sample(noise)
        path = self.out / "samples" / f"step{self.step:07d}.png"
        save_grid(images, path, columns=8, zoom=max(1, 128 // size))
