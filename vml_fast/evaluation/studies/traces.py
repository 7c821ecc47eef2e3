"""Study: what do the traces change that VML-MAP drops from the loss?

The descent of method VML-MAP on the full loss, beside that on the simplified one, on priors whose
posterior modes are known: the 2-D mixture, and a mixture of small gray pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from vml_fast.arrays import as_tensor
from vml_fast.covariance_traces import trace_estimate, trace_gradient
from vml_fast.denoisers import GaussianMixtureDenoiser
from vml_fast.evaluation.studies.priors import small_emoji
from vml_fast.evaluation.studies.samples import score
from vml_fast.evaluation.studies.toy import Toy, make_toy
from vml_fast.objective import vml_gradient
from vml_fast.operators import Inpainting, LinearOperator, expand_mask
from vml_fast.runtime.noise import Noise
from vml_fast.runtime.traces import FORMS
from vml_fast.solvers import VMLMAP

PROBES = 3


@dataclass(frozen=True)
class Problem:
    """One prior and measurement, solved from many starts.

    Attributes:
        name: in the figure.
        denoiser: the exact denoiser of a mixture.
        operator: H.
        y: (1, *measurement_shape).
        noise_std: sigma_y, above 0.
    """

    name: str
    denoiser: GaussianMixtureDenoiser
    operator: LinearOperator
    y: Tensor
    noise_std: float


@dataclass(frozen=True)
class Descent:
    """What a run gave.

    Attributes:
        points: (B, n) results.
        sigmas: the noise levels.
        shares: per level, the median over samples of |gradient of the traces| / |gradient of VML_S|
            where the level begins.
    """

    points: Tensor
    sigmas: list[float]
    shares: list[float]


def descend(
    problem: Problem, form: str, count: int, *, steps: int, inner_steps: int, seed: int = 0
) -> Descent:
    """VML-MAP without preconditioner, with the traces in one of the `FORMS`.

    Args:
        problem: what to solve; `count` restorations of one measurement.
        form: "drop" is the method itself.
        count: B.
        steps: N.
        inner_steps: K.
        seed: of all random numbers.
    """
    y = problem.y.expand(count, *problem.y.shape[1:]).contiguous()
    solver = VMLMAP(
        problem.denoiser, problem.operator, noise_std=problem.noise_std, steps=steps,
        inner_steps=inner_steps, preconditioner=None, traces=form, trace_probes=PROBES,
        backend="reference",
    )  # fmt: skip
    result = solver.solve(y, seed=seed, keep_images=True)
    noise = Noise(seed, None, tuple(result.image.shape), y)
    mean = torch.zeros_like(result.image)
    shares = []
    for i, state in enumerate(result.trace):
        begin = mean + state.sigma * noise.draw(i)
        shares.append(_share(problem, form, y, begin, state.sigma, seed + i))
        mean = as_tensor(state.denoised, "image")
    return Descent(result.image.flatten(1), [state.sigma for state in result.trace], shares)


def _share(problem: Problem, form: str, y: Tensor, x: Tensor, level: float, seed: int) -> float:
    """How large the gradient of the traces is at x, the rest of the loss's being 1."""
    if form == "drop":
        return 0.0
    operator, noise_std = problem.operator, problem.noise_std
    sigma = torch.full((len(x),), level, dtype=x.dtype)
    estimate = trace_estimate(form, PROBES, seed=seed)

    def metric(u: Tensor) -> Tensor:
        return operator.adjoint(operator.forward(u)) / noise_std**2 - u / level**2

    traces = trace_gradient(estimate, problem.denoiser, metric, x, sigma)
    rest = vml_gradient(problem.denoiser, operator, y, x, sigma, noise_std)
    return float((_norms(traces) / _norms(rest).clamp_min(1e-30)).median())


def _norms(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def toy_problem(toy: Toy | None = None) -> Problem:
    """The 2-D mixture of `vml-fast evaluate toy`."""
    toy = toy or make_toy()
    return Problem("2-D mixture", toy.denoiser, toy.operator, toy.y, toy.noise_std)


def picture_problem(side: int = 16, components: int = 24, noise_std: float = 0.5) -> Problem:
    """Gray pictures: a mixture around held-out emoji at side×side, and the noisy middle of one.

    So little of a picture leaves several emoji open: at 16×16 the posterior gives the likeliest
    three .43, .31 and .16 of its weight. The half of a picture would leave one.

    Args:
        side: pixels per side, a divisor of 64, at least 4.
        components: how many emoji.
        noise_std: sigma_y.
    """
    denoiser = GaussianMixtureDenoiser(small_emoji(side, components), 0.15**2)
    shape = (1, side, side)
    operator = Inpainting(shape, expand_mask(shape))
    truth = denoiser.mixture.sample(1, generator=torch.Generator().manual_seed(5))
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(4)).double()
    y = operator.forward(truth + noise_std * noise)
    return Problem(f"gray pictures of {side}×{side}", denoiser, operator, y, noise_std)


def compare(
    problem: Problem, count: int, *, steps: int, inner_steps: int, forms: Sequence[str] = FORMS
) -> tuple[dict[str, Descent], dict[str, dict[str, float]]]:
    """Every form on a problem: the runs, and how they lie to the posterior.

    The scores are those of `samples.score`, and "switched": the share of the results that are
    nearest to another mode than that of the same start with the traces dropped.
    """
    runs = {
        form: descend(problem, form, count, steps=steps, inner_steps=inner_steps) for form in forms
    }
    posterior = problem.denoiser.posterior(problem.operator, problem.y, problem.noise_std)
    truth = posterior.sample(2000, generator=torch.Generator().manual_seed(0)).flatten(1)
    modes = posterior.modes().flatten(1)
    nearest = {form: torch.cdist(run.points, modes).argmin(dim=1) for form, run in runs.items()}
    scores = {}
    for form, run in runs.items():
        switched = (nearest[form] != nearest["drop"]).double().mean()
        scores[form] = asdict(score(run.points, posterior, truth)) | {"switched": float(switched)}
    return runs, scores
