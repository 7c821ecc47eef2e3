"""Settings of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vml_fast.errors import InputError
from vml_fast.training.ema import check_width
from vml_fast.training.network import check_architecture
from vml_fast.training.split import compile_pattern


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the result of a run, apart from the images.

    Attributes:
        size: image side in pixels.
        steps: optimizer steps that end the run; ``None`` if only the time budget does.
        max_minutes: time budget that ends the run, or ``None``.
        init: embedded prior, prior folder or run folder to start from; its `channels`, `layers`,
            `attention` and `unshuffle` replace those given here, and its ``sigma_data`` and
            ``noise_scale`` are used. ``None``: random weights.
        batch: images per step.
        learning_rate: peak, after the warm-up.
        warmup_steps: steps of linear increase, which ends after a tenth of the run at the latest.
        decay: ``cosine`` or ``linear``; to 0 at the end, by the share of the steps or of the time.
        clip_norm: largest gradient norm.
        weight_decay: of AdamW.
        ema_width: see `PowerEMA`.
        noise_mean: mean of ln(sigma) in training, in [-10, 10].
        noise_std: standard deviation of ln(sigma) in training, at most 5.
        sigma_data: see `PreconditionedNetwork`.
        noise_scale: see `PreconditionedNetwork`.
        channels: see `build_network`.
        layers: see `build_network`.
        attention: see `build_network`.
        unshuffle: see `build_network`.
        flip: mirror images left-right at random.
        group_pattern: see `group_images`.
        duplicate_tolerance: see `group_images`.
        heldout_fraction: see `split_groups`.
        seed: of the weights, of the split, and of the images and noise of every step, in
            0…2^63-1.

    Raises:
        InputError: a value is outside its range.
    """

    size: int = 64
    steps: int | None = None
    max_minutes: float | None = None
    init: str | None = None
    batch: int = 16
    learning_rate: float = 6e-4
    warmup_steps: int = 300
    decay: str = "cosine"
    clip_norm: float = 1.0
    weight_decay: float = 1e-3
    ema_width: float = 0.05
    noise_mean: float = -0.4
    noise_std: float = 1.5
    sigma_data: float = 0.5
    noise_scale: float = 32.0
    channels: tuple[int, ...] = (48, 96, 144)
    layers: int = 1
    attention: tuple[int, ...] | None = None
    unshuffle: int = 2
    flip: bool = False
    group_pattern: str | None = None
    duplicate_tolerance: float = 0.0
    heldout_fraction: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is None and self.max_minutes is None:
            raise InputError("steps or max_minutes must be given to end the run, got neither")
        positive = ("batch", "learning_rate", "clip_norm", "noise_std", "sigma_data", "noise_scale")
        for name in ("steps", "max_minutes", *positive):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} must be positive, got {value}")
        for name in ("warmup_steps", "weight_decay", "duplicate_tolerance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be 0 or more, got {getattr(self, name)}")
        # Beyond, sigma squared leaves the range of float32.
        if not abs(self.noise_mean) <= 10:
            raise InputError(f"noise_mean must be in [-10, 10], got {self.noise_mean}")
        if self.noise_std > 5:
            raise InputError(f"noise_std must be at most 5, got {self.noise_std}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be in 0…2^63-1, got {self.seed}")
        check_width(self.ema_width)
        if not 0 <= self.heldout_fraction < 1:
            raise InputError(f"heldout_fraction must be in [0, 1), got {self.heldout_fraction}")
        if self.decay not in ("cosine", "linear"):
            raise InputError(f"decay must be cosine or linear, got {self.decay!r}")
        compile_pattern(self.group_pattern)

    def check_network(self) -> None:
        """Check that these are the sizes of a network of images.

        A run that takes its network from a prior, or trains one of latents, has other sizes.

        Raises:
            InputError: they do not fit.
        """
        check_architecture(self.size, self.channels, self.layers, self.attention, self.unshuffle)
