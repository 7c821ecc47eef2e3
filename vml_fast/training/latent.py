"""Training run of a latent prior: an autoencoder first, then a denoiser of its latents."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vml_fast.denoisers import Autoencoder
from vml_fast.denoisers.latent import reconstruction_error
from vml_fast.denoisers.latent_loading import read_autoencoder
from vml_fast.evaluation.files import Kind, inspect
from vml_fast.training.autoencoder import MODEL, AutoencoderTrainer
from vml_fast.training.checkpoint import write_text
from vml_fast.training.data import ImageFolder, draw_batch, to_model_range
from vml_fast.training.heldout import LEVELS
from vml_fast.training.latent_card import latent_card
from vml_fast.training.latent_folder import AUTOENCODER, LatentRecord, save_latent_prior
from vml_fast.training.latent_settings import LatentSettings
from vml_fast.training.loop import TrainingLoop
from vml_fast.training.loss import PreconditionedNetwork, draw_sigma, edm_loss
from vml_fast.training.network import build_network
from vml_fast.training.prior_folder import DenoiserRecord
from vml_fast.training.run_folder import (
    CHECKPOINT,
    PRIOR,
    PRIOR_FLOAT16,
    SUMMARY,
    check_run_folder,
    read_log,
)
from vml_fast.training.sampling import heun_sample, save_grid
from vml_fast.training.settings import TrainingSettings
from vml_fast.training.split import Split, group_images, split_groups

SAMPLES = 16


def train_latent_prior(
    folder: ImageFolder,
    out: Path,
    settings: LatentSettings,
    *,
    resume: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Train both halves of a latent prior, one after the other.

    The autoencoder's run is in ``out/autoencoder``, the denoiser's in ``out``, with the files of
    `AutoencoderTrainer` and of `LatentTrainer`. A resumed run goes on with the half it was in.

    Args:
        folder: the images.
        out: run folder.
        settings: of both runs.
        resume: continue the run in ``out``.
        **options: of the trainers: ``device``, ``precision``, ``snapshot_minutes``,
            ``show_progress``.

    Returns:
        The summary of the last snapshot; ``final`` is False after a stop.

    Raises:
        InputError: an argument is outside what is allowed; nothing has been written.
        MissingExtra: diffusers is not installed.
        FloatingPointError: a loss is not finite any more; the last snapshot stays.
    """
    second_begun = check_latent_run_folder(out, resume)
    prior = settings.prior
    groups = group_images(folder, prior.group_pattern, prior.duplicate_tolerance)
    split = split_groups(groups, prior.heldout_fraction, prior.seed)
    if not second_begun:
        half = AutoencoderTrainer(
            folder, split, out / AUTOENCODER, settings.autoencoder, resume=resume, **options
        )
        summary = half.run()
        if not summary["final"]:
            return summary
    trainer = LatentTrainer(folder, split, out, settings, resume=second_begun, **options)
    return trainer.run()


def check_latent_run_folder(out: Path, resume: bool) -> bool:
    """Check, before any work, that a run can be written into a folder or resumed there.

    Returns:
        Whether the denoiser's run has begun.

    Raises:
        InputError: as for `check_run_folder`.
    """
    second_begun = inspect(out / CHECKPOINT, "out") is not Kind.MISSING
    check_run_folder(out if second_begun else out / AUTOENCODER, resume)
    return second_begun


class LatentTrainer(TrainingLoop):
    """The run of the denoiser, on the latents of the autoencoder in ``out/autoencoder/model``.

    Files: those of `Trainer`; ``prior/`` holds both halves. The latents are shifted and scaled to
    the standard deviation ``sigma_data``.

    Args:
        folder: the images.
        split: which of them are held out.
        out: run folder.
        settings: of both runs.
        device: as for `Trainer`, and so are the others.
        precision: likewise.
        resume: likewise.
        snapshot_minutes: likewise.
        show_progress: likewise.

    Attributes:
        averaged: D with the averaged weights of the last snapshot.
        autoencoder: Enc and Dec.

    Raises:
        InputError: an argument is outside what is allowed; nothing has been written.
        MissingExtra: diffusers is not installed.
    """

    def __init__(
        self,
        folder: ImageFolder,
        split: Split,
        out: Path,
        settings: LatentSettings,
        *,
        device: str = "auto",
        precision: str = "auto",
        resume: bool = False,
        snapshot_minutes: float = 10.0,
        show_progress: bool = True,
    ) -> None:
        super().__init__(
            out,
            settings.prior,
            device=device,
            precision=precision,
            resume=resume,
            snapshot_minutes=snapshot_minutes,
            show_progress=show_progress,
        )
        self.folder, self.split, self.both = folder, split, settings
        self.autoencoder, self.record = self._autoencoder()
        self.denoiser_record = self._denoiser_record()
        own = settings.prior
        channels, side, _ = self.autoencoder.latent_shape
        torch.manual_seed(own.seed)
        network = build_network(side, own.channels, own.layers, own.attention, 1, channels)
        self.optimize_model(self._preconditioned(network))
        self.averaged_network = copy.deepcopy(network)
        self.averaged = self._preconditioned(self.averaged_network).eval().requires_grad_(False)
        if resume:
            self.load()

    def _autoencoder(self) -> tuple[Autoencoder, LatentRecord]:
        """Enc and Dec with latents of standard deviation ``sigma_data``, and their record."""
        own = self.both.autoencoder
        model = read_autoencoder(self.out / AUTOENCODER / MODEL).to(self.device)
        shape = (3, own.size, own.size)
        plain = Autoencoder(
            model, shape, scaling_factor=1.0, shift_factor=0.0, pixel_unshuffle=own.unshuffle
        )
        images = self.folder.images[[members[0] for members in self.split.train]]
        with torch.no_grad():
            latents = torch.cat([plain.encode(self._clean(chunk)) for chunk in images.split(64)])
        shift = float(latents.double().mean())
        scale = self.settings.sigma_data / float(latents.double().std())
        heldout = self._heldout_images() if self.split.heldout else images
        errors = torch.cat(
            [reconstruction_error(plain, self._clean(chunk)) for chunk in heldout.split(64)]
        )
        record = LatentRecord(
            image_shape=list(shape),
            scaling_factor=float(f"{scale:.6g}"),
            shift_factor=float(f"{shift:.6g}"),
            pixel_unshuffle=own.unshuffle,
            autoencoder_std=float(f"{float(errors.square().mean().sqrt()):.4g}"),
        )
        autoencoder = Autoencoder(
            model,
            shape,
            scaling_factor=record.scaling_factor,
            shift_factor=record.shift_factor,
            pixel_unshuffle=own.unshuffle,
        )
        return autoencoder, record

    def _clean(self, images: Tensor) -> Tensor:
        return to_model_range(images).to(self.device)

    def _heldout_images(self) -> Tensor:
        """The first image of each held-out group, ``(N, 3, S, S)`` uint8."""
        return self.folder.images[[members[0] for members in self.split.heldout]]

    def _denoiser_record(self) -> DenoiserRecord:
        own: TrainingSettings = self.settings
        shape = list(self.autoencoder.latent_shape)
        return DenoiserRecord(shape, own.sigma_data, own.noise_scale, pixel_unshuffle=1)

    def _preconditioned(self, network: torch.nn.Module) -> PreconditionedNetwork:
        return PreconditionedNetwork(network, self.settings.sigma_data, self.settings.noise_scale)

    def loss(self, generator: torch.Generator) -> Tensor:
        """Mean of `edm_loss` over the latents of a batch of training images."""
        own = self.settings
        images = draw_batch(self.folder.images, self.split.train, own.batch, own.flip, generator)
        sigma = draw_sigma(own.batch, own.noise_mean, own.noise_std, generator)
        noise = torch.randn(own.batch, *self.autoencoder.latent_shape, generator=generator)
        with torch.no_grad():
            latents = self.autoencoder.encode(images.to(self.device))
        latents, noise = (
            part.to(self.device, memory_format=torch.channels_last) for part in (latents, noise)
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses = edm_loss(self.model, latents, sigma.to(self.device), noise, own.sigma_data)
        return losses.mean()

    def snapshot(self, final: bool = False) -> dict[str, Any]:
        """Write checkpoint, prior, held-out error, samples and summary; returns the summary.

        Args:
            final: the run is over; also store the weights in float16.
        """
        self.save()
        self.ema.copy_to(self.averaged)
        summary = self.summary(final)
        if self.split.heldout:
            summary["heldout_rmse"] = self._heldout_table()
        self.log({"heldout_rmse": summary.get("heldout_rmse")})
        write_text(self.out / SUMMARY, json.dumps(summary, indent=2) + "\n")
        kinds = {PRIOR: torch.float32} | ({PRIOR_FLOAT16: torch.float16} if final else {})
        for name, dtype in kinds.items():
            place = self.out / name
            save_latent_prior(
                self.autoencoder.model,
                self.record,
                self.averaged_network,
                self.denoiser_record,
                place,
                dtype,
            )
            card = latent_card(str(self.out / PRIOR), summary, read_log(self.out))
            write_text(place / "README.md", card)
        self._samples()
        return summary

    @torch.no_grad()
    def _heldout_table(self) -> dict[str, float]:
        """RMS error of D(z + sigma n; sigma) at each level, in units of the latents."""
        clean = torch.cat(
            [
                self.autoencoder.encode(self._clean(part))
                for part in self._heldout_images().split(64)
            ]
        )
        noise = torch.randn(
            clean.shape, generator=torch.Generator().manual_seed(self.settings.seed)
        ).to(clean)
        table = {}
        for sigma in LEVELS:
            error = (
                self.averaged(clean + sigma * noise, clean.new_full((len(clean),), sigma)) - clean
            )
            table[f"{sigma:g}"] = float(f"{float(error.double().square().mean().sqrt()):.4g}")
        return table

    def summary(self, final: bool) -> dict[str, Any]:
        """That of every run, the sizes of the split, and what the autoencoder is."""
        first = json.loads((self.out / AUTOENCODER / SUMMARY).read_text(encoding="utf-8"))
        shape = list(self.autoencoder.latent_shape)
        own = {"latent": asdict(self.record) | {"latent_shape": shape}, "autoencoder": first}
        return super().summary(final) | self.split.sizes() | own

    @torch.no_grad()
    def _samples(self) -> None:
        generator = torch.Generator().manual_seed(self.settings.seed)
        noise = torch.randn(SAMPLES, *self.autoencoder.latent_shape, generator=generator)
        latents = heun_sample(
            self.averaged, noise.to(self.device), sigma_max=self.denoiser_record.sigma_max
        )
        path = self.out / "samples" / f"step{self.step:07d}.png"
        size = self.both.autoencoder.size
        save_grid(self.autoencoder.decode(latents), path, columns=8, zoom=max(1, 128 // size))
