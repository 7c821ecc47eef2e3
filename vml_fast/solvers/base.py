"""What every solver shares: its arguments, its noise levels, its progress and its records."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vml_fast import trace
from vml_fast.arrays import Array, as_tensor, back_to
from vml_fast.autograd import differentiating
from vml_fast.checks import check_count
from vml_fast.denoisers.latent import LatentDenoiser
from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator
from vml_fast.ops.backends import check_backend
from vml_fast.runtime.footprint import largest_batch
from vml_fast.runtime.network import scalings_at
from vml_fast.runtime.noise import Noise
from vml_fast.runtime.problem import Level
from vml_fast.runtime.sampling import Sampling
from vml_fast.schedules import SIGMA_MAX, SIGMA_MIN, check_schedule, edm_schedule
from vml_fast.solvers.checks import (
    check_denoiser,
    check_image_shape,
    check_max_batch,
    check_measurement,
    check_noise_std,
    check_operator,
    check_solve_options,
)
from vml_fast.solvers.result import Callback, Result
from vml_fast.solvers.run import Observer, Run, joined, merged_trace


class Solver(ABC):
    """A method that restores y = H x + sigma_y n with a denoiser as its prior.

    Args:
        denoiser: D(x, sigma) in variance-exploding coordinates, any callable.
        operator: H.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), in [0, 1e6].
        steps: N, the number of noise levels, at least 1; ignored when `schedule` is given.
        schedule: (N,) noise levels, strictly decreasing; by default EDM's, clipped to the range
            of the denoiser.
        backend: of the fused ops: "auto" (the fastest measured one that runs here), "reference",
            "cpp", "triton" or "cuda".

    Attributes:
        on_latents: whether the method knows latent priors.
        jacobian: the product with the denoiser's Jacobian that it takes, "none" without one.
    """

    on_latents = False
    jacobian = "vjp"

    def __init__(
        self,
        denoiser: Callable[..., Tensor],
        operator: LinearOperator,
        *,
        noise_std: float | Array,
        steps: int,
        schedule: Array | Sequence[float] | None,
        backend: str,
    ) -> None:
        check_operator(operator)
        check_denoiser(denoiser)
        check_image_shape(denoiser, operator)
        if isinstance(denoiser, LatentDenoiser) and not self.on_latents:
            raise InputError(
                f"denoiser is a LatentDenoiser, which {type(self).__name__} cannot use; only "
                "VML-MAP runs on a latent prior."
            )
        self.denoiser = denoiser
        self.operator = operator
        self.noise_std = noise_std
        self.steps = check_count("steps", steps, 1)
        self.schedule = self._levels(schedule)
        if schedule is not None:
            self.steps = len(self.schedule)
        self.backend = check_backend(backend)

    @differentiating
    def solve(
        self,
        y: Array,
        *,
        seed: int | Sequence[int] | Array = 0,
        sample_index: Sequence[int] | Array | None = None,
        operator: LinearOperator | None = None,
        condition: dict[str, Any] | None = None,
        initial: Array | None = None,
        callback: Callback | None = None,
        progress: bool = False,
        keep_images: bool = False,
        max_batch: int | str | None = "auto",
    ) -> Result:
        """Restore a batch of measurements.

        Every array may be of torch, NumPy or CuPy, and the results are of the kind of y: memory is
        shared where it can be (`vml_fast.arrays`). The denoiser always sees torch tensors.

        Args:
            y: (B, *measurement_shape) float32 or float64; the state has its dtype and device (the
                CPU for NumPy).
            seed: an int or (B,): with the sample index the key of all random numbers of an image.
            sample_index: (B,), by default 0 ... B-1; a slice of a run passes the original indices.
            operator: another operator of the same structure, in place of the solver's.
            condition: keywords of the denoiser, for example {"class_labels": labels}.
            initial: (B, C, H, W) start at the first noise level, in place of sigma_1 times noise.
            callback: called with a `State` after each level; returning False ends the solve there.
                Where the batch is split it is called for each part in turn (`State.samples`), and
                a False holds for the parts that follow: they end at that level too, or before.
            progress: show a progress bar with noise level and residual.
            keep_images: keep each level's denoised images in `Result.trace`.
            max_batch: how many images are restored together, at least 1; a larger batch is split
                and the parts are solved one after the other, with the results they have together.
                "auto" splits what does not fit into free memory, by the measured need of an inner
                step; None never splits. Tensors in `condition` with B rows are per sample.

        Returns:
            The restoration; see `Result`.

        Raises:
            InputError: y or another argument is of the wrong shape, dtype or range.
            BackendUnavailable: the solver's backend was named and cannot run here.
        """
        start = time.perf_counter()
        check_solve_options(condition, callback)
        operator = self._same_structure(operator)
        give = back_to(y)
        y = check_measurement(y, operator)
        noise = Noise(seed, sample_index, (len(y), *self._state_shape(operator)), y)
        noise_std = check_noise_std(self.noise_std, len(y))
        with trace.range("solve"), tqdm(disable=not progress, unit="step", leave=False) as bar:
            whole = Run(
                y=y,
                operator=operator,
                noise_std=noise_std,
                noise=noise,
                condition=condition or {},
                initial=None if initial is None else as_tensor(initial, "initial"),
                watch=Observer(callback, bar, keep_images, give),
                samples=slice(0, len(y)),
                total=len(y),
            )
            runs = self._parts(whole, max_batch)
            whole.watch.parts = len(runs)
            images, forwards, products = zip(*(self._restore(run) for run in runs), strict=True)
        image = joined(images)
        residual = give(operator.residual(image, y))
        if y.is_cuda:
            torch.cuda.synchronize(y.device)
        return Result(
            image=give(image),
            residual=residual,
            denoiser_calls=max(forwards),
            vjp_calls=max(products),
            seconds=time.perf_counter() - start,
            trace=merged_trace(runs, give),
            warmup_seconds=sum(run.warmup_seconds for run in runs),
            autoencoder_calls=max(run.autoencoder_calls for run in runs),
        )

    def _parts(self, run: Run, max_batch: int | str | None) -> list[Run]:
        """The run, or its parts of at most `max_batch` samples."""
        run.check_initial()
        if max_batch is None:
            return [run]
        if max_batch == "auto":
            like = run.y.new_zeros(()).expand(run.noise.shape)
            most = largest_batch(
                self._differentiated(), like, self.jacobian, run.condition, owner=self.denoiser
            )
        else:
            most = check_max_batch(max_batch)
        starts = range(0, run.total, most)
        if len(starts) == 1:
            return [run]
        return [run.part(slice(i, min(i + most, run.total))) for i in starts]

    def _state_shape(self, operator: LinearOperator) -> tuple[int, int, int]:
        """The shape of what the noise lives on: of the images, where nothing else is said."""
        return operator.image_shape

    def _differentiated(self) -> Callable[..., Tensor]:
        """The model whose Jacobian is multiplied, which takes the most memory."""
        return self.denoiser

    @abstractmethod
    def _restore(self, run: Run) -> tuple[Tensor, int, int]:
        """The method itself: the image, and how many forwards and Jacobian products it took."""

    def _level(self, sigma: Tensor, active: Tensor, run: Run) -> Level:
        """The model's coefficients at a noise level.

        Args:
            sigma: the level, a scalar or (B,).
            active: (B,) who is optimized there.
            run: the solve.
        """
        levels = sigma.to(run.y.device).expand(len(run.y))
        scalings = scalings_at(self._differentiated(), levels)
        return Level(sigma.max(), scalings, active.to(run.y.device))

    def _sampling(self, run: Run) -> Sampling:
        """The calls of a run without a runner; of a solver that has the option, compiled."""
        sampling = Sampling(
            run.noise,
            condition=run.condition,
            backend=self.backend,
            compile=getattr(self, "compile", False),
            calls=len(self.schedule),
        )
        sampling.announce = run.announce
        return sampling

    def _levels(self, schedule: Array | Sequence[float] | None) -> Tensor:
        if schedule is not None:
            return check_schedule(schedule)
        return self._default_levels(
            getattr(self.denoiser, "sigma_min", SIGMA_MIN),
            getattr(self.denoiser, "sigma_max", SIGMA_MAX),
        )

    def _default_levels(self, sigma_min: float, sigma_max: float) -> Tensor:
        """The method's own noise levels within the range of the denoiser."""
        return edm_schedule(
            self.steps, sigma_min=max(SIGMA_MIN, sigma_min), sigma_max=min(SIGMA_MAX, sigma_max)
        )

    def _same_structure(self, operator: LinearOperator | None) -> LinearOperator:
        if operator is None:
            return self.operator
        check_operator(operator)
        if operator.structure != self.operator.structure:
            raise InputError(
                f"operator has structure {operator.structure}; "
                f"it must be the solver's, {self.operator.structure}."
            )
        return operator
