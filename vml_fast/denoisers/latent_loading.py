"""Where the parts of a latent prior lie in its folder, and the loading of its autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vml_fast.denoisers.autoencoder import Autoencoder
from vml_fast.denoisers.checkpoints import (
    CONFIG,
    RECORD,
    Checkpoint,
    build_network,
    read_json,
    weight_files,
)
from vml_fast.errors import InputError

LATENT_KIND = "latent"
AUTOENCODERS = ("AutoencoderKL", "VQModel")
"""Classes of diffusers that the ``config.json`` of an autoencoder may name."""
FIELDS = (
    "kind", "image_shape", "scaling_factor", "shift_factor", "pixel_unshuffle", "autoencoder_std",
)  # fmt: skip
"""What the ``denoiser.json`` of a latent prior may hold; only ``kind`` is required."""


@dataclass(frozen=True)
class LatentFolder:
    """The parts of a latent prior.

    Attributes:
        path: the folder.
        autoencoder: the folder of the autoencoder.
        denoiser: the folder of the denoiser.
        record: content of ``denoiser.json``; empty for a pipeline of diffusers.
    """

    path: Path
    autoencoder: Path
    denoiser: Path
    record: dict[str, Any]

    @property
    def autoencoder_std(self) -> Any:
        """What the record says of the autoencoder's error."""
        return self.record.get("autoencoder_std", 0.0)


def find_latent(path: Path) -> LatentFolder | None:
    """The parts of a latent prior; None where the path is no such folder.

    Raises:
        InputError: its record cannot be read, holds an unknown field, or a part is missing.
    """
    if not path.is_dir():
        return None
    if not (path / RECORD).is_file():
        for name in ("vqvae", "vae"):
            if (path / name / CONFIG).is_file() and (path / "unet" / CONFIG).is_file():
                return LatentFolder(path, path / name, path, {})
        return None
    record = read_json(path / RECORD)
    if record.get("kind") != LATENT_KIND:
        return None
    for field in record:
        if field not in FIELDS:
            raise InputError(
                f"{path}: fields of kind {LATENT_KIND} must be among {', '.join(FIELDS)}, "
                f"got {field!r}"
            )
    folder = LatentFolder(path, path / "autoencoder", path / "denoiser", record)
    for part in (folder.autoencoder, folder.denoiser):
        if not (part / CONFIG).is_file():
            raise InputError(f"{path} is a latent prior and must hold {part.name}/{CONFIG}")
    return folder


def load_autoencoder(folder: LatentFolder, latent_shape: tuple[int, int, int]) -> Autoencoder:
    """The autoencoder of a latent prior, in float32, on the CPU.

    Args:
        folder: the parts of the prior.
        latent_shape: ``(c, h, w)`` of the denoiser; gives the size of the images where the record
            does not.

    Raises:
        InputError: it is no autoencoder, is damaged, or does not fit the record.
        MissingExtra: diffusers is not installed.
    """
    record = folder.record
    try:
        return Autoencoder(
            read_autoencoder(folder.autoencoder),
            record.get("image_shape")
            or _image_shape(folder, latent_shape, record.get("pixel_unshuffle", 1)),
            scaling_factor=record.get("scaling_factor"),
            shift_factor=record.get("shift_factor"),
            pixel_unshuffle=record.get("pixel_unshuffle", 1),
        )
    except InputError as error:
        raise InputError(f"{folder.path}: {error}") from None


def read_autoencoder(folder: Path) -> nn.Module:
    """A diffusers autoencoder with its weights, in float32, on the CPU; errors as above."""
    config = read_json(folder / CONFIG)
    checkpoint = Checkpoint(folder, config, {}, weight_files(folder))
    return build_network(checkpoint, AUTOENCODERS, "autoencoder")


def _image_shape(
    folder: LatentFolder, latent_shape: tuple[int, int, int], factor: object
) -> tuple[int, int, int]:
    """Every resolution of diffusers' autoencoders but the last halves the sides.

    Before them `factor` x `factor` pixels were folded into channels; one that is none is left to
    `Autoencoder` to refuse.
    """
    config = read_json(folder.autoencoder / CONFIG)
    folded = factor if isinstance(factor, int) and factor > 0 else 1
    scale = 2 ** (len(config.get("block_out_channels", (0,))) - 1) * folded
    channels = config.get("in_channels", 3) // folded**2
    return (channels, latent_shape[1] * scale, latent_shape[2] * scale)
