"""The saved prior: a diffusers folder plus ``denoiser.json``."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from vml_fast.denoisers.loading import find_prior
from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.errors import InputError, require
from vml_fast.training.checkpoint import write_text
from vml_fast.training.model_folder import save_model

DENOISER = "denoiser.json"


@dataclass(frozen=True)
class DenoiserRecord:
    """Content of ``denoiser.json``: how D is made from the network (`PreconditionedNetwork`)."""

    image_shape: list[int]
    sigma_data: float
    noise_scale: float
    pixel_unshuffle: int
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    kind: str = "edm"

    def check(self) -> None:
        """Raise an InputError for a field of another type or out of range."""
        for name in ("sigma_data", "noise_scale", "sigma_min", "sigma_max"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 < abs(value) < math.inf:
                raise InputError(f"{name} must be a finite number other than 0, got {value!r}")
        if type(self.pixel_unshuffle) is not int or self.pixel_unshuffle < 1:
            raise InputError(
                f"pixel_unshuffle must be a whole number of at least 1, got {self.pixel_unshuffle}"
            )


def save_prior(
    network: PixelUnshuffled,
    record: DenoiserRecord,
    folder: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write ``config.json``, the weights and ``denoiser.json``, each file in one step.

    Args:
        network: the (averaged) network.
        record: how to use it.
        folder: made if missing; other files in it stay.
        dtype: of the stored weights.
    """
    save_model(network.unet, folder, dtype)
    write_text(folder / DENOISER, json.dumps(asdict(record), indent=2) + "\n")


def load_prior(name: str) -> tuple[PixelUnshuffled, DenoiserRecord]:
    """Read what `save_prior` wrote, the weights in float32.

    Args:
        name: an embedded prior, its folder, or a run folder; see `find_prior`.

    Raises:
        InputError: there is no such prior, or it is not one that `save_prior` wrote.
        MissingExtra: diffusers is not installed.
    """
    unet_class = require("diffusers", "diffusers").UNet2DModel
    try:
        folder = find_prior(name)
        record = DenoiserRecord(**json.loads((folder / DENOISER).read_text(encoding="utf-8")))
        unet = unet_class.from_pretrained(
            str(folder), torch_dtype=torch.float32, low_cpu_mem_usage=False, local_files_only=True
        )
        record.check()
    except (OSError, TypeError, ValueError, RuntimeError) as error:  # too deep JSON among them
        raise InputError(
            f"init must be a prior that can be read, got {name!r} ({error})"
        ) from error
    if record.kind != "edm":
        raise InputError(f"init must be a prior of kind edm, got {name} of kind {record.kind}")
    return PixelUnshuffled(unet, record.pixel_unshuffle), record
