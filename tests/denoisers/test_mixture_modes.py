"""Modes of mixtures: against a grid search, at saddles, and on singular supports."""

import pytest
import torch

from vml_fast.denoisers import GaussianMixture
from vml_fast.errors import InputError

from .problems import F64, DenseOperator, grid, parameters


def gradient_and_curvature(mixture: GaussianMixture, x: torch.Tensor):
    def log_prob(z):
        return mixture.log_prob(z[None])[0]

    gradient = torch.autograd.functional.jacobian(log_prob, x)
    return gradient, torch.linalg.eigvalsh(torch.autograd.functional.hessian(log_prob, x))


@pytest.mark.parametrize("kind", ["isotropic", "diagonal", "full"])
@pytest.mark.parametrize("n", [2, 5])
def test_modes_are_strict_local_maxima(kind, n) -> None:
    means, covariances, _, weights = parameters(n, kind=kind)
    mixture = GaussianMixture(means, covariances, weights)
    modes = mixture.modes().flatten(1)
    assert 1 <= len(modes) <= 3
    for mode in modes:
        gradient, curvature = gradient_and_curvature(mixture, mode)
        assert gradient.norm() < 1e-8
        assert curvature.max() < 0
    density = mixture.log_prob(modes)
    assert density.tolist() == sorted(density.tolist(), reverse=True)
    assert density[0] >= mixture.log_prob(means).max()


@pytest.mark.parametrize("kind", ["isotropic", "full"])
def test_modes_equal_a_grid_search(kind) -> None:
    means, covariances, _, weights = parameters(2, kind=kind)
    mixture = GaussianMixture(means, covariances, weights)
    points, area = grid(-3, 3, 301)
    density = mixture.log_prob(points).reshape(1, 1, 301, 301)
    highest = torch.nn.functional.max_pool2d(density, 3, stride=1, padding=1)
    found = points[(density == highest).flatten()]
    modes = mixture.modes().flatten(1)
    assert len(found) == len(modes)
    assert torch.cdist(modes, found).min(1).values.max() < area**0.5


def test_close_components_have_one_mode_in_the_middle() -> None:
    mixture = GaussianMixture(torch.tensor([[-0.5, 0.0], [0.5, 0.0]]), 1.0)
    torch.testing.assert_close(mixture.modes().flatten(), torch.zeros(2, dtype=F64))


def test_a_saddle_is_left_to_both_sides() -> None:
    """The middle mean is a minimum of the density along the line through the two others."""
    means = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0]], dtype=F64)
    covariances = torch.tensor([4.0, 0.04, 0.04], dtype=F64)
    mixture = GaussianMixture(means, covariances, [0.1, 0.45, 0.45])
    _, curvature = gradient_and_curvature(mixture, means[0])
    assert curvature.max() > 0
    modes = mixture.modes().flatten(1)
    assert len(modes) == 2
    torch.testing.assert_close(modes[:, 0].sort().values, means[1:, 0], rtol=0, atol=1e-3)


def test_noiseless_posterior_modes_fit_and_are_maxima_on_the_support() -> None:
    means, covariances, _, weights = parameters(4)
    prior = GaussianMixture(means, covariances, weights)
    h = DenseOperator(torch.randn(2, 4, dtype=F64), (1, 1, 4))
    y = h.forward(prior.sample(1))[0]
    posterior = prior.posterior(h, y, 0.0)
    modes = posterior.modes()
    torch.testing.assert_close(h.forward(modes), y.expand(len(modes), -1), rtol=1e-9, atol=1e-9)
    null = torch.linalg.svd(h.matrix).Vh[2:]
    for mode in modes.flatten(1):
        gradient = torch.autograd.functional.jacobian(lambda z: prior.log_prob(z[None])[0], mode)
        assert (null @ gradient).norm() < 1e-7  # the prior's gradient along the support
        nearby = mode + 1e-3 * torch.randn(20, 2, dtype=F64) @ null
        assert (posterior.log_prob(nearby) < posterior.log_prob(mode[None])).all()


def test_without_a_common_support_there_is_no_density() -> None:
    elsewhere = GaussianMixture(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    crossed = GaussianMixture(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    points = GaussianMixture(torch.eye(2), 0.0)
    for mixture in (elsewhere, crossed, points):
        with pytest.raises(InputError, match="sigma must be > 0"):
            mixture.modes()
        with pytest.raises(InputError, match="sigma must be > 0"):
            mixture.log_prob(torch.zeros(1, 2))
        assert mixture.log_prob(torch.zeros(1, 2), 0.1).isfinite().all()
