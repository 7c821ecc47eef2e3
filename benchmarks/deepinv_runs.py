"""deepinv's DDRM, PiGDM and DPS, and ours, on the same problems with the same network.

Each of deepinv's runs as it is, and with what sets it apart from ours taken away and with our
random numbers ("aligned"): then both are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn

import vml_fast as vf
from tests.peers.deepinv_import import import_deepinv
from vml_fast.evaluation.measurements import simulate
from vml_fast.operators import (
    CircularBlur,
    Inpainting,
    LinearOperator,
    SuperResolution,
    gaussian_kernel,
    random_mask,
)
from vml_fast.operators.linear_operator import DEFAULT_RTOL
from vml_fast.runtime.noise import Noise

NOISE_STD = 0.05
ZETA = 10.0
"""Step size of DPS on both sides; the comparison of all methods takes it too for few levels."""
TAPS, STD = 13, 2.0
"""Of the Gaussian blur, in pixels."""


class Problem(NamedTuple):
    """What is restored.

    Attributes:
        make: our H, with its `rtol` as a keyword.
        physics: deepinv's.
        noise_std: sigma_y, a number or (B,).
        y: (B, *measurement_shape).
        truth: (B, C, H, W) in [-1, 1].
    """

    make: Callable[..., LinearOperator]
    physics: Any
    noise_std: float | Tensor
    y: Tensor
    truth: Tensor


class Setting(NamedTuple):
    """What all runs share: the network, ours and unaccelerated, and the noise levels (N,)."""

    prior: Callable[..., Tensor]
    levels: Tensor


Run = Callable[[Problem, Setting, int], Tensor]
"""A solve with a seed."""


# --- problems -------------------------------------------------------------------------------------


def inpainting(truth: Tensor, mask: Tensor, noise_std: float | Tensor = NOISE_STD) -> Problem:
    """Pixels hidden by a mask (1, H, W), or by one per image (B, 1, H, W)."""
    shape = tuple(truth.shape[1:])
    whole = mask.to(truth).expand(*mask.shape[:-3], *shape)
    physics = import_deepinv().physics.Inpainting(shape, mask=whole)
    return _problem(partial(Inpainting, shape, mask), physics, noise_std, truth)


def blur(truth: Tensor) -> Problem:
    """Gaussian blur with a periodic border."""
    shape = tuple(truth.shape[1:])
    taps = gaussian_kernel(TAPS, STD)
    kernel = torch.outer(taps, taps)
    physics = import_deepinv().physics.BlurFFT(shape, filter=kernel.to(truth)[None, None])
    return _problem(partial(CircularBlur, shape, kernel), physics, NOISE_STD, truth)


def block_means(truth: Tensor) -> Problem:
    """4x super-resolution."""
    shape = tuple(truth.shape[1:])
    mean = torch.zeros(1, 1, 7, 7)  # from its middle, these are the pixels 0 to 3
    mean[..., :4, :4] = 1 / 16
    physics = import_deepinv().physics.Downsampling(shape, filter=mean, factor=4)
    return _problem(partial(SuperResolution, shape, 4), physics, NOISE_STD, truth)


def _problem(make: Any, physics: Any, noise_std: float | Tensor, truth: Tensor) -> Problem:
    """y, and the two operators found to be the same."""
    operator = make()
    torch.testing.assert_close(physics.A(truth), operator.forward(truth), rtol=0, atol=1e-5)
    physics.noise_model = import_deepinv().physics.GaussianNoise(noise_std)
    each = torch.as_tensor(noise_std).reshape(-1, 1, 1, 1)
    y = simulate(operator, truth, each, torch.arange(len(truth)))
    return Problem(make, physics, noise_std, y, truth)


PROBLEMS: dict[str, Callable[[Tensor], Problem]] = {
    "random70": lambda truth: inpainting(truth, random_mask(tuple(truth.shape[1:]), 0.7)),
    "blur": blur,
}


# --- our runs -------------------------------------------------------------------------------------


def ours(
    method: Any,
    problem: Problem,
    setting: Setting,
    seed: int,
    rtol: float = DEFAULT_RTOL,
    **keywords: Any,
) -> Tensor:
    """A solve by one of our classes; singular values up to rtol times the largest count as zero."""
    solver = method(
        setting.prior,
        problem.make(rtol=rtol),
        noise_std=problem.noise_std,
        schedule=setting.levels,
        **keywords,
    )
    return solver.solve(problem.y, seed=seed).image


# --- deepinv's runs -------------------------------------------------------------------------------


class Network(nn.Module):
    """Our denoiser as deepinv calls it: sigma is a number, a scalar or (B, 1, 1, 1)."""

    def __init__(self, denoiser: Callable[..., Tensor]) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, sigma: Any, *_: Any, **__: Any) -> Tensor:
        """D(x, sigma)."""
        levels = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1)
        return self.denoiser(x, levels.expand(len(x)))


def their_ddrm(problem: Problem, setting: Setting, seed: int, aligned: bool = False) -> Tensor:
    """deepinv's DDRM; aligned: with the sqrt(2) restored by which it divides its noise."""
    solver = import_deepinv().sampling.DDRM(Network(setting.prior), sigmas=setting.levels.tolist())
    torch.manual_seed(seed)
    with _whole_noise(problem, seed) if aligned else nullcontext():
        return solver(problem.y.clone(), problem.physics)  # it writes into y


def _whole_noise(problem: Problem, seed: int) -> AbstractContextManager[Any]:
    """Our draws in place of torch's, as coordinates of V."""
    draws = _draws(problem.truth, seed)
    return mock.patch.object(
        torch, "randn_like", lambda z: 2**0.5 * problem.physics.V_adjoint(next(draws)).to(z)
    )


def their_pigdm(problem: Problem, setting: Setting, seed: int, aligned: bool = False) -> Tensor:
    """deepinv's PiGDM; aligned: with our random numbers."""
    sampling = import_deepinv().sampling
    network = Network(setting.prior)
    fidelity = sampling.PiGDMDataFidelity(denoiser=network)
    return _posterior(fidelity, network, problem, setting, seed, aligned)


def their_dps(problem: Problem, setting: Setting, seed: int) -> Tensor:
    """deepinv's DPS."""
    solver = import_deepinv().sampling.DPS(
        Network(setting.prior),
        weight=ZETA,
        solver=_solver(setting.levels, problem.truth, seed, aligned=False),
        minus_one_one=False,
    )
    return solver(problem.y, problem.physics, x_init=tuple(problem.truth.shape)).float()


def their_aligned_dps(
    problem: Problem, setting: Setting, seed: int, clip: tuple[float, float] | None = None
) -> Tensor:
    """deepinv's DPS with the step of the paper and our random numbers, and not clipped."""
    network = Network(setting.prior)
    fidelity = _paper_step(network, setting.levels, clip)
    return _posterior(fidelity, network, problem, setting, seed, aligned=True)


def _posterior(
    fidelity: Any, network: Network, problem: Problem, setting: Setting, seed: int, aligned: bool
) -> Tensor:
    """DDPM's ancestral steps with a data fidelity of deepinv."""
    sampling = import_deepinv().sampling
    solver = _solver(setting.levels, problem.truth, seed, aligned)
    start: Any = tuple(problem.truth.shape)
    if aligned:
        first = setting.levels[0]
        start = first / (1 + first**2).sqrt() * next(solver.draws)
    sampler = sampling.PosteriorDiffusion(
        data_fidelity=fidelity,
        denoiser=network,
        sde=sampling.VariancePreservingDiffusion(alpha=1.0),
        solver=solver,
        minus_one_one=False,
    )
    return sampler(problem.y, problem.physics, x_init=start).float()


def _solver(levels: Tensor, like: Tensor, seed: int, aligned: bool) -> Any:
    """deepinv's DDPM steps through our levels, with its random numbers or (aligned) with ours."""
    sampling = import_deepinv().sampling

    class Solver(sampling.DDPMSolver):  # type: ignore[misc,name-defined]
        draws = _draws(like, seed)

        def randn_like(self, input: Tensor, seed: int | None = None) -> Tensor:
            return next(self.draws).to(input) if aligned else super().randn_like(input, seed)

    return Solver(timesteps=vp_times(levels), rng=torch.Generator().manual_seed(seed))


def vp_times(levels: Tensor) -> Tensor:
    """Times (N + 1,) at which deepinv's variance-preserving process is at our levels and at 0.

    There ln(1 + sigma^2) = beta_min t + (beta_max - beta_min) t^2 / 2 with beta from .1 to 20.
    """
    low, slope = 0.1, 20.0 - 0.1
    variance = torch.cat([levels, levels.new_zeros(1)]).square()
    return ((low**2 + 2 * slope * variance.log1p()).sqrt() - low) / slope


def _paper_step(network: Network, levels: Tensor, clip: tuple[float, float] | None) -> Any:
    """DPS's gradient, weighed so that a step is the paper's.

    deepinv's DDPM step from sigma_t to s multiplies a score by (sigma_t^2 - s^2) times the scales
    of both levels, 1 / sqrt(1 + sigma^2), and takes the gradient for one; the paper's is zeta.
    """
    sampling = import_deepinv().sampling
    following = torch.cat([levels[1:], levels.new_zeros(1)])

    class PaperStep(sampling.DPSDataFidelity):  # type: ignore[misc,name-defined]
        def grad(self, x: Tensor, y: Tensor, physics: Any, sigma: Any, **kwargs: Any) -> Any:
            i = int((levels - sigma).abs().argmin())
            scales = ((1 + levels[i] ** 2) * (1 + following[i] ** 2)).sqrt()
            self.weight = float(ZETA * scales / (levels[i] ** 2 - following[i] ** 2))
            return super().grad(x, y, physics, sigma, **kwargs)

    return PaperStep(denoiser=network, clip=clip)


def _draws(like: Tensor, seed: int) -> Iterator[Tensor]:
    """The random numbers of our solve with a seed, in their order."""
    noise = Noise(seed, None, tuple(like.shape), like)
    return (noise.draw(i) for i in range(2**31))


RUNS: dict[str, Run] = {
    "DDRM": partial(ours, vf.DDRM),
    "DDRM, truncated": partial(ours, vf.DDRM, rtol=NOISE_STD),
    "PiGDM": partial(ours, vf.PiGDM),
    "PiGDM, score": partial(ours, vf.PiGDM, guidance="score"),
    "DPS": partial(ours, vf.DPS, zeta=ZETA),
    "deepinv DDRM": their_ddrm,
    "deepinv DDRM, aligned": partial(their_ddrm, aligned=True),
    "deepinv PiGDM": their_pigdm,
    "deepinv PiGDM, aligned": partial(their_pigdm, aligned=True),
    "deepinv DPS": their_dps,
    "deepinv DPS, step aligned": partial(their_aligned_dps, clip=(-1.0, 1.0)),
    "deepinv DPS, aligned": their_aligned_dps,
}
"""Ours, deepinv's as they are, and (aligned) with what sets them apart taken away. Both problems
have 1 for the largest singular value."""


def is_aligned(run: str) -> bool:
    """Whether the run has our random numbers: then one seed shows what there is to see."""
    return run.endswith("aligned")


# --- what deepinv does not solve ------------------------------------------------------------------


class Unsolved(NamedTuple):
    """A problem that deepinv's method does not solve.

    Attributes:
        method: its name.
        problem: made from two images.
        theirs: deepinv's run.
        ours: ours.
    """

    method: str
    problem: Callable[[Tensor], Problem]
    theirs: Run
    ours: Run


def _random70(truth: Tensor, noise_std: float | Tensor) -> Problem:
    return inpainting(truth, random_mask(tuple(truth.shape[1:]), 0.7), noise_std)


def _mask_per_image(truth: Tensor) -> Problem:
    shape = tuple(truth.shape[1:])
    return inpainting(truth, torch.stack([random_mask(shape, 0.7, seed=i) for i in range(2)]))


UNSOLVED = {
    "70 % of the pixels hidden, σ_y = 0": Unsolved(
        "ΠGDM", partial(_random70, noise_std=0.0), their_pigdm, RUNS["PiGDM"]
    ),
    "4× super-resolution": Unsolved("DDRM", block_means, their_ddrm, RUNS["DDRM"]),
    "a mask per image": Unsolved("DDRM", _mask_per_image, their_ddrm, RUNS["DDRM"]),
    "σ_y = 0.02 for one image, 0.1 for the other": Unsolved(
        "DDRM",
        partial(_random70, noise_std=torch.tensor([0.02, 0.1])),
        their_ddrm,
        RUNS["DDRM"],
    ),
}
