"""deepinv's DDRM, PiGDM and DPS on the same denoiser, H and noise, where deepinv is installed.

Its networks run in float32, and its DDRM adds 1e-6 to singular values: hence the tolerances. The
last tests are of problems that it cannot solve and we can: they fail on the day that it can, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.peers.deepinv_import import deepinv_or_skip
from tests.solvers.gaussian import draws
from tests.solvers.problems import SHAPE, N, Problem, matrix, mixture, problem
from vml_fast import DDRM, PiGDM
from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.operators import Inpainting, MatrixOperator, SuperResolution, random_mask
from vml_fast.runtime.sampling import Sampling
from vml_fast.solvers.base import Solver
from vml_fast.solvers.dps import _toward

deepinv = deepinv_or_skip()
DPSDataFidelity = deepinv.sampling.DPSDataFidelity
PiGDMDataFidelity = deepinv.sampling.PiGDMDataFidelity
SIGMAS = [10.0, 3.0, 1.0, 0.3, 0.1, 0.03]


def _physics(dense: Tensor, noise_std: float) -> Any:
    """A square H by its singular value decomposition."""
    u, s, vt = torch.linalg.svd(dense)

    class Physics(deepinv.physics.DecomposablePhysics):  # type: ignore[misc]
        def U(self, z: Tensor) -> Tensor:
            return z @ u.to(z).T

        def U_adjoint(self, y: Tensor) -> Tensor:
            return y @ u.to(y)

        def V(self, z: Tensor) -> Tensor:
            return (z @ vt.to(z)).reshape(-1, *SHAPE)

        def V_adjoint(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ vt.to(x).T

    return Physics(mask=s[None], noise_model=_gaussian(noise_std))


def _gaussian(noise_std: float | Tensor) -> Any:
    return deepinv.physics.GaussianNoise(noise_std)


class _Denoiser(torch.nn.Module):
    def __init__(self, exact: GaussianMixtureDenoiser) -> None:
        super().__init__()
        self.exact = exact

    def forward(self, x: Tensor, sigma: Tensor | float, **_: object) -> Tensor:
        levels = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1).expand(len(x))
        return self.exact(x, levels)


@pytest.fixture(params=[0.01, 0.05, 0.2], ids="sigma_y={}".format)
def square(request: pytest.FixtureRequest) -> tuple[Problem, Tensor, Tensor]:
    """A problem, its H with rows of zeros below, and its y alike; all singular values > sigma_y."""
    setting = problem(noise_std=request.param)
    dense = torch.cat([matrix(), torch.zeros(4, N, dtype=torch.float64)])
    return setting, dense, torch.cat([setting.y, torch.zeros_like(setting.y)], dim=1)


def _noise() -> Iterator[Tensor]:
    noise = draws(4)
    return (noise.draw(i) for i in range(1000))


def test_ddrm(square: tuple[Problem, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    setting, dense, y = square
    ours = DDRM(setting.denoiser, MatrixOperator(dense, SHAPE), noise_std=setting.noise_std)
    result = ours.solve(y, keep_images=True)
    physics, noise = _physics(dense, setting.noise_std), _noise()
    # It divides all noise by sqrt(2) and works in the coordinates of V.
    monkeypatch.setattr(
        torch, "randn_like", lambda z: 2**0.5 * physics.V_adjoint(next(noise)).to(z)
    )
    other = deepinv.sampling.DDRM(_Denoiser(setting.denoiser), sigmas=ours.schedule.tolist())
    theirs = other(y, physics)
    last = result.trace[-1].denoised
    torch.testing.assert_close(last, theirs, rtol=0, atol=1e-3)


def test_pigdm_with_the_weight_of_the_score(square: tuple[Problem, Tensor, Tensor]) -> None:
    setting, dense, y = square
    noise = _noise()

    class WithNoise(deepinv.sampling.AncestralSolver):  # type: ignore[misc]
        def randn_like(self, input: Tensor, seed: int | None = None) -> Tensor:
            return next(noise).to(input)

    sde = deepinv.sampling.VarianceExplodingDiffusion(sigma_min=0.01, sigma_max=80.0)
    times = torch.linspace(1.0, 0.0, 30, dtype=torch.float64)
    levels = torch.stack([sde.sigma_t(t) for t in times])
    denoiser = _Denoiser(setting.denoiser)
    theirs = deepinv.sampling.PosteriorDiffusion(
        data_fidelity=PiGDMDataFidelity(denoiser=denoiser),
        denoiser=denoiser,
        sde=sde,
        solver=WithNoise(timesteps=times, eta=1.0),
        minus_one_one=False,
    )(y, _physics(dense, setting.noise_std), x_init=levels[0] * next(noise))
    ours = PiGDM(
        setting.denoiser,
        MatrixOperator(dense, SHAPE),
        noise_std=setting.noise_std,
        schedule=levels,
        guidance="score",
    ).solve(y, keep_images=True)
    last = ours.trace[-1].denoised
    torch.testing.assert_close(last, theirs, rtol=0, atol=1e-3)


def test_the_gradient_of_dps(square: tuple[Problem, Tensor, Tensor]) -> None:
    """Its samplers weigh this gradient as a score; ours is the step of Algorithm 1."""
    setting, dense, y = square
    operator, noise = MatrixOperator(dense, SHAPE), draws(4)
    for sigma in (0.05, 0.5, 5.0):
        x = setting.truth + sigma * noise.draw(0)
        fidelity = DPSDataFidelity(denoiser=_Denoiser(setting.denoiser))
        theirs = fidelity.grad(x.clone(), y, _physics(dense, setting.noise_std), sigma)
        sampling = Sampling(noise, condition={}, backend="auto")
        level = torch.tensor(sigma, dtype=torch.float64)
        denoised, product = sampling.linearize(setting.denoiser, x, level)
        ours = -product(_toward(operator, y, denoised))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.fixture
def small() -> tuple[GaussianMixtureDenoiser, Tensor]:
    """A prior and four images of it, float32."""
    prior = mixture()
    truth = prior.mixture.sample(4, generator=torch.Generator().manual_seed(2))
    return prior, truth.float()


def _their_ddrm(prior: GaussianMixtureDenoiser, y: Tensor, physics: Any) -> Tensor:
    return deepinv.sampling.DDRM(_Denoiser(prior), sigmas=SIGMAS)(y.clone(), physics)


def _assert_solved(solver: Solver, y: Tensor) -> None:
    """Finite, and with the measurement met: samples of the prior are .2 to .6 away."""
    result = solver.solve(y)
    assert torch.isfinite(result.image).all()
    assert (result.residual < 0.1 + torch.as_tensor(solver.noise_std)).all()


def test_pigdm_without_noise_where_pixels_are_missing(
    small: tuple[GaussianMixtureDenoiser, Tensor],
) -> None:
    """It divides by sigma_y^2 + r_t^2 s^2, which is 0 at a missing pixel."""
    prior, truth = small
    mask = random_mask(SHAPE, 0.5, seed=1)
    H = Inpainting(SHAPE, mask)
    physics = deepinv.physics.Inpainting(SHAPE, mask=mask.float(), noise_model=_gaussian(0.0))
    fidelity = PiGDMDataFidelity(denoiser=_Denoiser(prior))
    for sigma in SIGMAS:
        theirs = fidelity.grad(truth + sigma, H(truth), physics, torch.tensor(sigma))
        assert theirs.isnan().all()
    for guidance in ("score", "adaptive"):
        ours = PiGDM(prior, H, noise_std=0.0, schedule=SIGMAS, guidance=guidance)
        _assert_solved(ours, H(truth))


def test_ddrm_of_super_resolution(small: tuple[GaussianMixtureDenoiser, Tensor]) -> None:
    """Its Downsampling has no SVD."""
    prior, truth = small
    H = SuperResolution(SHAPE, 2)
    mean = torch.full((1, 1, 2, 2), 0.25)
    physics = deepinv.physics.Downsampling(SHAPE, mean, factor=2, noise_model=_gaussian(0.05))
    torch.testing.assert_close(physics.A(truth), H(truth))
    with pytest.raises(AttributeError, match="has no attribute"):
        _their_ddrm(prior, H(truth), physics)
    _assert_solved(DDRM(prior, H, noise_std=0.05, schedule=SIGMAS), H(truth))


def test_ddrm_with_a_mask_per_sample(small: tuple[GaussianMixtureDenoiser, Tensor]) -> None:
    """It repeats the masks B times, whatever their number."""
    prior, truth = small
    masks = torch.stack([random_mask(SHAPE, 0.5, seed=i) for i in range(4)])
    H = Inpainting(SHAPE, masks)
    physics = deepinv.physics.Inpainting(SHAPE, mask=masks.float(), noise_model=_gaussian(0.05))
    torch.testing.assert_close(physics.A(truth), H(truth))
    with pytest.raises(IndexError, match="shape of the mask"):
        _their_ddrm(prior, H(truth), physics)
    _assert_solved(DDRM(prior, H, noise_std=0.05, schedule=SIGMAS), H(truth))


def test_ddrm_with_a_noise_level_per_sample(
    small: tuple[GaussianMixtureDenoiser, Tensor],
) -> None:
    """It compares sigma_y (B,) with pixels along the width: 4 samples of 4 columns get as far as
    the division, and 3 do not."""
    prior, truth = small
    mask = random_mask(SHAPE, 0.5, seed=1)
    H, levels = Inpainting(SHAPE, mask), torch.tensor([0.01, 0.05, 0.1, 0.2])
    for batch in (3, 4):
        noise = _gaussian(levels[:batch])
        physics = deepinv.physics.Inpainting(SHAPE, mask=mask.float(), noise_model=noise)
        with pytest.raises(RuntimeError, match=r"must match|shape mismatch"):
            _their_ddrm(prior, H(truth[:batch]), physics)
    _assert_solved(DDRM(prior, H, noise_std=levels, schedule=SIGMAS), H(truth))
