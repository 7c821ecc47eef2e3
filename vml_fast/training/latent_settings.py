"""Settings of the two runs that make a latent prior: the autoencoder's, then the denoiser's."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vml_fast.errors import InputError
from vml_fast.training.network import check_architecture
from vml_fast.training.settings import TrainingSettings


@dataclass(frozen=True)
class AutoencoderSettings(TrainingSettings):
    """Settings of an autoencoder's run; the fields that speak of noise levels are not used.

    Attributes:
        latent_channels: of the latents, at least 1.
        kl_weight: of the mean KL divergence of a latent number from N(0, 1), at least 0.
        gradient_weight: of the error of the images' differences between neighboring pixels.
    """

    batch: int = 8
    learning_rate: float = 1e-3
    channels: tuple[int, ...] = (32, 64)
    latent_channels: int = 8
    kl_weight: float = 1e-3
    gradient_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_network()
        if type(self.latent_channels) is not int or self.latent_channels < 1:
            raise InputError(
                f"latent_channels must be a whole number of at least 1, got {self.latent_channels}"
            )
        for name in ("kl_weight", "gradient_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be 0 or more, got {getattr(self, name)}")

    @property
    def latent_side(self) -> int:
        """Side of the latents."""
        return self.size // self.unshuffle // 2 ** (len(self.channels) - 1)


@dataclass(frozen=True)
class LatentSettings:
    """Settings of both runs.

    Attributes:
        autoencoder: of the first.
        prior: of the second: `size` is the side of the images; `channels`, `layers` and `attention`
            are those of the U-Net on the latents, which nothing is folded for (`unshuffle` 1).

    Raises:
        InputError: the two do not fit each other.
    """

    autoencoder: AutoencoderSettings
    prior: TrainingSettings

    def __post_init__(self) -> None:
        for name in ("size", "group_pattern", "duplicate_tolerance", "heldout_fraction", "seed"):
            if getattr(self.autoencoder, name) != getattr(self.prior, name):
                raise InputError(f"{name} must be the same for the autoencoder and the prior")
        if self.prior.init is not None:
            raise InputError(f"init must be None for a latent prior, got {self.prior.init}")
        side = self.autoencoder.latent_side
        prior = self.prior
        check_architecture(side, prior.channels, prior.layers, prior.attention, 1)


def latent_settings(
    prior: TrainingSettings,
    *,
    autoencoder_channels: tuple[int, ...] = AutoencoderSettings.channels,
    latent_channels: int = AutoencoderSettings.latent_channels,
    autoencoder_share: float = 0.4,
) -> LatentSettings:
    """Settings of both runs from those of a prior; the budget is divided between them.

    Args:
        prior: as for a prior of images; its `unshuffle` is the autoencoder's.
        autoencoder_channels: width at each resolution of the autoencoder.
        latent_channels: of the latents.
        autoencoder_share: share of the steps and minutes that goes to the autoencoder, in (0, 1).

    Raises:
        InputError: an argument is outside its range.
    """
    if not 0 < autoencoder_share < 1:
        raise InputError(f"autoencoder_share must be in (0, 1), got {autoencoder_share}")

    def budget(share: float) -> dict[str, float | int | None]:
        steps, minutes = prior.steps, prior.max_minutes
        return {
            "steps": None if steps is None else max(1, round(share * steps)),
            "max_minutes": None if minutes is None else share * minutes,
        }

    autoencoder = AutoencoderSettings(
        size=prior.size,
        **budget(autoencoder_share),  # type: ignore[arg-type]
        warmup_steps=prior.warmup_steps,
        decay=prior.decay,
        ema_width=prior.ema_width,
        channels=autoencoder_channels,
        latent_channels=latent_channels,
        unshuffle=prior.unshuffle,
        flip=prior.flip,
        group_pattern=prior.group_pattern,
        duplicate_tolerance=prior.duplicate_tolerance,
        heldout_fraction=prior.heldout_fraction,
        seed=prior.seed,
    )
    return LatentSettings(autoencoder, replace(prior, **budget(1 - autoencoder_share)))  # type: ignore[arg-type]
