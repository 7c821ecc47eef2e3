"""Training run of an autoencoder, the first half of a latent prior."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from vml_fast.training.autoencoder_network import build_autoencoder
from vml_fast.training.checkpoint import write_text
from vml_fast.training.data import ImageFolder, draw_batch, to_model_range
from vml_fast.training.latent_settings import AutoencoderSettings
from vml_fast.training.loop import TrainingLoop
from vml_fast.training.model_folder import save_model
from vml_fast.training.run_folder import SUMMARY
from vml_fast.training.sampling import save_grid
from vml_fast.training.split import Split

MODEL = "model"
SHOWN = 8


class FoldedAutoencoder(nn.Module):
    """An `AutoencoderKL` between a pixel unshuffle and a pixel shuffle, for training.

    Args:
        model: sees ``(B, 3 f², H/f, W/f)``.
        factor: f.
    """

    def __init__(self, model: Any, factor: int) -> None:
        super().__init__()
        self.model = model
        self.factor = factor

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents of images ``(B, 3, H, W)``."""
        found = self.model.encode(pixel_unshuffle(x, self.factor)).latent_dist
        return found.mean, found.logvar

    def decode(self, z: Tensor) -> Tensor:
        """Images of latents."""
        return pixel_shuffle(self.model.decode(z).sample, self.factor)


def autoencoder_loss(
    image: Tensor, truth: Tensor, mean: Tensor, logvar: Tensor, settings: AutoencoderSettings
) -> Tensor:
    """Mean absolute error, that of the pixel differences, and the KL divergence of the latents.

    Args:
        image: decoded, ``(B, 3, H, W)``.
        truth: of the same shape.
        mean: of the latents' Gaussian.
        logvar: its log-variance.
        settings: the weights.
    """
    error = image - truth
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
    return error.abs().mean() + settings.gradient_weight * edges + settings.kl_weight * divergence


class AutoencoderTrainer(TrainingLoop):
    """One training run of an autoencoder in one folder.

    Files: ``log.jsonl``, ``checkpoint.safetensors``, ``samples/*.png`` (held-out images above their
    reconstructions), ``summary.json`` and ``model/``, a diffusers folder of averaged weights.

    Args:
        folder: the images.
        split: which of them are held out.
        out: run folder.
        settings: what decides the result.
        device: as for `Trainer`, and so are the others.
        precision: likewise.
        resume: likewise.
        snapshot_minutes: likewise.
        show_progress: likewise.

    Attributes:
        averaged: the autoencoder with the averaged weights of the last snapshot.

    Raises:
        InputError: an argument is outside what is allowed; nothing has been written.
        MissingExtra: diffusers is not installed.
    """

    settings: AutoencoderSettings
    model: FoldedAutoencoder

    def __init__(
        self,
        folder: ImageFolder,
        split: Split,
        out: Path,
        settings: AutoencoderSettings,
        *,
        device: str = "auto",
        precision: str = "auto",
        resume: bool = False,
        snapshot_minutes: float = 10.0,
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
        self.folder, self.split = folder, split
        torch.manual_seed(settings.seed)
        network = build_autoencoder(
            settings.size,
            settings.channels,
            settings.layers,
            settings.unshuffle,
            settings.latent_channels,
        )
        self.optimize_model(FoldedAutoencoder(network, settings.unshuffle))
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        if resume:
            self.load()

    def loss(self, generator: torch.Generator) -> Tensor:
        """`autoencoder_loss` of a batch of training images, through a draw of their latents."""
        settings = self.settings
        images = draw_batch(
            self.folder.images, self.split.train, settings.batch, settings.flip, generator
        ).to(self.device, memory_format=torch.channels_last)
        side = settings.latent_side
        noise = torch.randn(
            len(images), settings.latent_channels, side, side, generator=generator
        ).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            mean, logvar = (part.float() for part in self.model.posterior(images))
            decoded = self.model.decode(mean + (0.5 * logvar).exp() * noise).float()
        return autoencoder_loss(decoded, images, mean, logvar, settings)

    def snapshot(self, final: bool = False) -> dict[str, Any]:
        """Write checkpoint, model, held-out error, pictures and summary; returns the summary.

        Args:
            final: the run is over.
        """
        self.save()
        self.ema.copy_to(self.averaged)
        save_model(self.averaged.model, self.out / MODEL)
        summary = self.summary(final)
        if self.split.heldout:
            summary["heldout_rmse"] = self._heldout_error()
        self.log({"heldout_rmse": summary.get("heldout_rmse")})
        write_text(self.out / SUMMARY, json.dumps(summary, indent=2) + "\n")
        return summary

    @torch.no_grad()
    def _heldout_error(self) -> float:
        """RMS error of the reconstructed held-out images; writes a picture of the first ones."""
        chosen = self.folder.images[[members[0] for members in self.split.heldout]]
        total, shown = 0.0, []
        for chunk in chosen.split(32):
            truth = to_model_range(chunk).to(self.device)
            image = self.averaged.decode(self.averaged.posterior(truth)[0])
            total += float((image - truth).double().square().sum())
            shown.append(torch.cat([truth[:SHOWN], image[:SHOWN]]))
        path = self.out / "samples" / f"step{self.step:07d}.png"
        save_grid(shown[0], path, columns=len(shown[0]) // 2, zoom=max(1, 128 // image.shape[-1]))
        return float(f"{(total / chosen.numel()) ** 0.5:.4g}")
