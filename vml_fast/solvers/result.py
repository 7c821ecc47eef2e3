"""What a solve returns, and what a callback sees on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vml_fast.arrays import Array


@dataclass(frozen=True)
class State:
    """What a callback and `Result.trace` see after a noise level.

    The arrays are of the kind of y (torch, NumPy or CuPy) and share the solver's memory.

    Attributes:
        level: 0 ... N-1.
        sigma: the noise level.
        residual: (B,) RMS of y - H D over observed entries.
        denoised: (B, C, H, W) the estimate of the image: D(x, sigma), C(x, sigma) of MAP-GA, the
            Langevin sample of DAPS, the decoded D of a latent prior; in `Result.trace` only with
            keep_images=True.
        samples: which of the samples of y these are; all of them unless the batch was split.
    """

    level: int
    sigma: float
    residual: Array
    denoised: Array | None
    samples: slice = field(default_factory=lambda: slice(None))


@dataclass(frozen=True)
class Result:
    """A restoration and what it took.

    The arrays, those of the trace too, are of the kind of y: torch, NumPy or CuPy.

    Attributes:
        image: (B, C, H, W) in the dtype and on the device of y, not clipped.
        residual: (B,) RMS of y - H image over observed entries.
        denoiser_calls: forwards of the network per image.
        vjp_calls: Jacobian products per image; the sum of both is the budget, "network passes".
        seconds: wall-clock time of the solve, all of it.
        trace: one `State` per noise level that was run.
        warmup_seconds: the part of `seconds` that an equal solve, later in this process, is
            spared: compiling the network and recording CUDA graphs.
        autoencoder_calls: with a latent prior, decodes, encodes and products with the decoder's
            Jacobian per image; no part of the network passes.
    """

    image: Array
    residual: Array
    denoiser_calls: int
    vjp_calls: int
    seconds: float
    trace: list[State] = field(default_factory=list)
    warmup_seconds: float = 0.0
    autoencoder_calls: int = 0

    @property
    def network_passes(self) -> int:
        """Forwards and Jacobian products together."""
        return self.denoiser_calls + self.vjp_calls


Callback = Callable[[State], object]
