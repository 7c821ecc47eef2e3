"""The saved latent prior: two diffusers folders plus ``denoiser.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.training.checkpoint import write_text
from vml_fast.training.model_folder import save_model
from vml_fast.training.prior_folder import DENOISER, DenoiserRecord, save_prior

AUTOENCODER = "autoencoder"
DENOISER_FOLDER = "denoiser"


@dataclass(frozen=True)
class LatentRecord:
    """Content of ``denoiser.json``; see `Autoencoder` and `LatentDenoiser`."""

    image_shape: list[int]
    scaling_factor: float
    shift_factor: float
    pixel_unshuffle: int
    autoencoder_std: float
    kind: str = "latent"


def save_latent_prior(
    model: Any,
    record: LatentRecord,
    network: PixelUnshuffled,
    denoiser_record: DenoiserRecord,
    folder: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write both halves and the record, each file in one step.

    Args:
        model: the diffusers autoencoder.
        record: how to use it.
        network: the (averaged) network of the denoiser.
        denoiser_record: how to use that.
        folder: made if missing; other files in it stay.
        dtype: of the stored weights.
    """
    save_model(model, folder / AUTOENCODER, dtype)
    save_prior(network, denoiser_record, folder / DENOISER_FOLDER, dtype)
    write_text(folder / DENOISER, json.dumps(asdict(record), indent=2) + "\n")
