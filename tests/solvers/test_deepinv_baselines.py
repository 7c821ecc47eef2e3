"""deepinv's DDRM, PiGDM and DPS on the same denoiser, H and noise, where deepinv is installed.

Its networks run in float32, and its DDRM adds 1e-6 to singular values: hence the tolerances.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.solvers.gaussian import draws
from tests.solvers.problems import SHAPE, N, Problem, matrix, problem
from vml_fast import DDRM, PiGDM
from vml_fast.operators import MatrixOperator
from vml_fast.runtime.sampling import Sampling
from vml_fast.solvers.dps import _toward

try:
    import deepinv
    from deepinv.sampling import DDRM as OtherDDRM
    from deepinv.sampling import PiGDMDataFidelity, PosteriorDiffusion, VarianceExplodingDiffusion
    from deepinv.sampling.noisy_datafidelity import DPSDataFidelity
    from deepinv.sampling.sde_solver import AncestralSolver
except Exception as error:  # its torchvision may be there and still not load beside this torch
    pytest.skip(f"deepinv cannot be imported: {error}", allow_module_level=True)


def _physics(dense: Tensor, noise_std: float) -> object:
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

    return Physics(mask=s[None], noise_model=deepinv.physics.GaussianNoise(noise_std))


class _Denoiser(torch.nn.Module):
    def __init__(self, setting: Problem) -> None:
        super().__init__()
        self.exact = setting.denoiser

    def forward(self, x: Tensor, sigma: Tensor | float, **_: object) -> Tensor:
        levels = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1).expand(len(x))
        return self.exact(x, levels)


@pytest.fixture
def square() -> tuple[Problem, Tensor, Tensor]:
    """A problem, its H with rows of zeros below, and its y alike; sigma_y = .05."""
    setting = problem(noise_std=0.05)
    dense = torch.cat([matrix(), torch.zeros(4, N, dtype=torch.float64)])
    return setting, dense, torch.cat([setting.y, torch.zeros_like(setting.y)], dim=1)


def _noise() -> Iterator[Tensor]:
    noise = draws(4)
    return (noise.draw(i) for i in range(1000))


def test_ddrm(square: tuple[Problem, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    setting, dense, y = square
    ours = DDRM(setting.denoiser, MatrixOperator(dense, SHAPE), noise_std=0.05)
    result = ours.solve(y, keep_images=True)
    physics, noise = _physics(dense, 0.05), _noise()
    # It divides all noise by sqrt(2) and works in the coordinates of V.
    monkeypatch.setattr(
        torch, "randn_like", lambda z: 2**0.5 * physics.V_adjoint(next(noise)).to(z)
    )
    theirs = OtherDDRM(_Denoiser(setting), sigmas=ours.schedule.tolist())(y, physics)
    last = result.trace[-1].denoised
    torch.testing.assert_close(last, theirs, rtol=0, atol=1e-3)


def test_pigdm_with_the_weight_of_the_score(square: tuple[Problem, Tensor, Tensor]) -> None:
    setting, dense, y = square
    noise = _noise()

    class Solver(AncestralSolver):  # type: ignore[misc]
        def randn_like(self, input: Tensor, seed: int | None = None) -> Tensor:
            return next(noise).to(input)

    sde = VarianceExplodingDiffusion(sigma_min=0.01, sigma_max=80.0)
    times = torch.linspace(1.0, 0.0, 30, dtype=torch.float64)
    levels = torch.stack([sde.sigma_t(t) for t in times])
    denoiser = _Denoiser(setting)
    theirs = PosteriorDiffusion(
        data_fidelity=PiGDMDataFidelity(denoiser=denoiser),
        denoiser=denoiser,
        sde=sde,
        solver=Solver(timesteps=times, eta=1.0),
        minus_one_one=False,
    )(y, _physics(dense, 0.05), x_init=levels[0] * next(noise))
    ours = PiGDM(
        setting.denoiser,
        MatrixOperator(dense, SHAPE),
        noise_std=0.05,
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
        fidelity = DPSDataFidelity(denoiser=_Denoiser(setting))
        theirs = fidelity.grad(x.clone(), y, _physics(dense, 0.05), sigma)
        sampling = Sampling(noise, condition={}, backend="auto")
        level = torch.tensor(sigma, dtype=torch.float64)
        denoised, product = sampling.linearize(setting.denoiser, x, level)
        ours = -product(_toward(operator, y, denoised))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
