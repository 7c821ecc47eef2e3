"""The graph runner, with CUDA graphs acted on the CPU: recorded once, it holds at all levels."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
import torch
from torch import Tensor
from tqdm.auto import tqdm

import vml_fast as vf
from tests.runtime.fake_graph import FakeGraphs, fake_graphs, fresh_graphs  # noqa: F401
from tests.runtime.networks import SHAPE, small_denoiser
from vml_fast.errors import BackendUnavailable
from vml_fast.operators import Inpainting, LinearMap, MatrixOperator, SuperResolution, task
from vml_fast.operators.base import LinearOperator

STEPS = {"steps": 4, "inner_steps": 3}
TASKS = (
    "random70", "denoise", "sr2", "colorize", "deblur-motion", "deblur-gauss", "sr4-bicubic",
    "walsh-hadamard",
)  # fmt: skip


def images(batch: int = 2, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


def solver(operator: LinearOperator, recorded: bool, **settings) -> vf.VMLMAP:
    settings = STEPS | settings
    denoiser = settings.pop("denoiser", None) or small_denoiser(operator.image_shape)
    return vf.VMLMAP(denoiser, operator, cuda_graph=recorded, **settings)


def assert_equal_images(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("noise_std", [0.0, 0.05])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", TASKS)
def test_a_recorded_step_holds_at_every_level(
    graphs: FakeGraphs, name: str, backend: str, noise_std: float
) -> None:
    shape = (3, 16, 16)
    H = task(name, shape)
    y = H(images(2, shape))
    settings = {"noise_std": noise_std, "backend": backend, "prior_weight": 0.4}
    plain = solver(H, False, **settings).solve(y, seed=3)
    recorded = solver(H, True, **settings).solve(y, seed=3)
    assert_equal_images(recorded.image, plain.image)
    assert len(graphs.recorded) == 2
    assert graphs.eager == 3 + 1
    assert graphs.replays == (4 * 3 - 3) + (4 - 1)
    assert (recorded.denoiser_calls, recorded.vjp_calls) == (4 * 3 + 4, 4 * 3)


@pytest.mark.parametrize("preconditioner", [None, "pseudo_inverse", "noise_aware"])
@pytest.mark.parametrize("noise_std", [0.0, 0.05])
def test_a_dense_matrix(graphs: FakeGraphs, preconditioner: str | None, noise_std: float) -> None:
    matrix = torch.randn(20, 64, generator=torch.Generator().manual_seed(1))
    H = MatrixOperator(matrix, SHAPE)
    settings = {"noise_std": noise_std, "preconditioner": preconditioner}
    y = H(images())
    recorded = solver(H, True, **settings).solve(y)
    assert_equal_images(recorded.image, solver(H, False, **settings).solve(y).image)


@pytest.mark.parametrize("jacobian", ["vjp", "jvp", "finite_difference"])
def test_every_jacobian_product(graphs: FakeGraphs, jacobian: str) -> None:
    H = SuperResolution(SHAPE, 2)
    y = H(images())
    plain = solver(H, False, jacobian=jacobian).solve(y)
    recorded = solver(H, True, jacobian=jacobian).solve(y)
    assert_equal_images(recorded.image, plain.image)
    assert graphs.replays > 0


def test_stopped_samples_and_per_sample_noise(graphs: FakeGraphs) -> None:
    H = SuperResolution(SHAPE, 2)
    settings = {
        "noise_std": torch.tensor([0.0, 0.3]), "stop_sigma": torch.tensor([0.0, 1.0]), "steps": 6,
    }  # fmt: skip
    y = H(images())
    recorded = solver(H, True, **settings).solve(y)
    assert_equal_images(recorded.image, solver(H, False, **settings).solve(y).image)


def test_other_numbers_of_the_same_structure_need_no_new_recording(graphs: FakeGraphs) -> None:
    """Masks, measurements, labels, noise levels, seeds and schedules are copied in."""
    denoiser = small_denoiser()
    kept = []
    for seed in range(3):
        mask = (torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) < 0.5).float()
        H = Inpainting(SHAPE, mask)
        arguments = {
            "seed": seed, "condition": {"labels": torch.tensor([seed, 3 - seed])},
        }  # fmt: skip
        settings = {"denoiser": denoiser, "noise_std": 0.1 * (seed + 1), "steps": 4 + seed}
        y = H(images(seed=seed))
        result = solver(H, True, **settings).solve(y, **arguments)
        assert_equal_images(result.image, solver(H, False, **settings).solve(y, **arguments).image)
        kept.append((result.image, result.image.clone()))
    assert len(graphs.recorded) == 2
    for image, at_that_time in kept:
        assert torch.equal(image, at_that_time)


def test_a_matrix_of_the_same_structure_is_copied_in(graphs: FakeGraphs) -> None:
    denoiser = small_denoiser()
    for seed in range(3):
        matrix = torch.randn(20, 64, generator=torch.Generator().manual_seed(seed))
        H = MatrixOperator(matrix, SHAPE)
        y = H(images(seed=seed))
        recorded = solver(H, True, denoiser=denoiser, noise_std=0.05).solve(y)
        plain = solver(H, False, denoiser=denoiser, noise_std=0.05).solve(y)
        assert_equal_images(recorded.image, plain.image)
    assert len(graphs.recorded) == 2


@pytest.mark.parametrize("name", ["deblur-gauss", "deblur-motion", "sr4-bicubic"])
@pytest.mark.parametrize("levels", [(1e-5, 0.05), (0.05, 1e-5)])
def test_noise_across_the_limit_of_auto_is_another_computation(
    graphs: FakeGraphs, name: str, levels: tuple[float, float]
) -> None:
    """Up to 1e-4 the form is the pseudo-inverse, whose beta is one number for all s."""
    shape = (3, 16, 16)
    H = task(name, shape)
    denoiser, y = small_denoiser(shape), H(images(2, shape))
    for noise_std in levels:
        settings = {"denoiser": denoiser, "noise_std": noise_std}
        recorded = solver(H, True, **settings).solve(y)
        assert_equal_images(recorded.image, solver(H, False, **settings).solve(y).image)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"noise_std": 0.1}),
        ({}, {"jacobian": "finite_difference"}),
        ({}, {"prior_weight": 0.5}),
        ({}, {"preconditioner": None}),
        ({}, {"backend": "reference"}),
    ],
)
def test_another_computation_is_recorded_anew(
    graphs: FakeGraphs, first: dict, second: dict
) -> None:
    H = task("deblur-gauss", SHAPE)
    denoiser, y = small_denoiser(), H(images())
    for settings in (first, second):
        recorded = solver(H, True, denoiser=denoiser, **settings).solve(y)
        plain = solver(H, False, denoiser=denoiser, **settings).solve(y)
        assert_equal_images(recorded.image, plain.image)
    assert len(graphs.recorded) == 4


def test_weights_that_move_are_recorded_anew(graphs: FakeGraphs) -> None:
    H = SuperResolution(SHAPE, 2)
    denoiser, y = small_denoiser(), H(images())
    solver(H, True, denoiser=denoiser).solve(y)
    denoiser.network.last.weight.data = 0.5 * denoiser.network.last.weight.data
    recorded = solver(H, True, denoiser=denoiser).solve(y)
    assert_equal_images(recorded.image, solver(H, False, denoiser=denoiser).solve(y).image)


def test_two_solves_at_once_share_no_memory(graphs: FakeGraphs) -> None:
    """One inside the callback of the other, with one solver."""
    H = SuperResolution(SHAPE, 2)
    denoiser = small_denoiser()
    recorded, plain = (solver(H, on, denoiser=denoiser) for on in (True, False))
    outer, inner = H(images(seed=1)), H(images(seed=2))
    recorded.solve(outer)  # leaves a runner that only one of the two can take
    results: list[Tensor] = []

    def interrupt(state: vf.solvers.State) -> None:
        if state.level == 1:
            results.append(recorded.solve(inner).image)

    outside = recorded.solve(outer, callback=interrupt).image
    assert_equal_images(outside, plain.solve(outer).image)
    assert_equal_images(results[0], plain.solve(inner).image)


def test_two_threads_share_no_memory(graphs: FakeGraphs) -> None:
    H = SuperResolution(SHAPE, 2)
    denoiser, barrier = small_denoiser(), Barrier(2)
    shared = solver(H, True, denoiser=denoiser)
    results: dict[int, Tensor] = {}

    def work(seed: int) -> None:
        barrier.wait()
        for _ in range(3):
            results[seed] = shared.solve(H(images(seed=seed)), seed=seed).image

    threads = [Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (1, 2):
        plain = solver(H, False, denoiser=denoiser).solve(H(images(seed=seed)), seed=seed)
        assert_equal_images(results[seed], plain.image)


def test_a_network_that_reads_from_the_device_is_refused_or_run_as_it_is(
    graphs: FakeGraphs,
) -> None:
    denoiser = small_denoiser()
    forward = denoiser.network.forward

    def reading(u: Tensor, c_noise: Tensor) -> Tensor:
        return forward(u, c_noise) * (2.0 if float(u.mean()) > 100 else 1.0)

    denoiser.network.forward = reading
    H = SuperResolution(SHAPE, 2)
    y = H(images())
    with pytest.raises(BackendUnavailable, match="cannot be recorded"):
        solver(H, True, denoiser=denoiser).solve(y)
    expected = solver(H, False, denoiser=denoiser).solve(y).image
    with pytest.warns(UserWarning, match="cannot be recorded"):
        result = solver(H, "auto", denoiser=denoiser).solve(y)
    assert_equal_images(result.image, expected)
    replays = graphs.replays
    solver(H, "auto", denoiser=denoiser).solve(y)  # not tried again, so without a warning
    assert graphs.replays == replays


def test_what_auto_records(graphs: FakeGraphs) -> None:
    H = SuperResolution(SHAPE, 2)
    y = H(images())
    solver(H, "auto", steps=3, inner_steps=3).solve(y)  # too short
    denoiser = small_denoiser()
    solver(H, "auto", denoiser=lambda x, sigma: denoiser(x, sigma)).solve(y)  # any callable
    solver(LinearMap(lambda x: x[..., ::2], SHAPE), "auto").solve(images()[..., ::2])
    assert not graphs.recorded
    solver(H, "auto").solve(y)
    assert len(graphs.recorded) == 2


def test_conjugate_gradients_cannot_be_recorded(graphs: FakeGraphs) -> None:
    H = LinearMap(lambda x: x[..., ::2], SHAPE)
    with pytest.raises(BackendUnavailable, match=r"cuda_graph=True.*no SVD"):
        solver(H, True).solve(images()[..., ::2])
    settings = {"preconditioner": None}
    plain = solver(H, False, **settings).solve(images()[..., ::2])
    recorded = solver(H, True, **settings).solve(images()[..., ::2])
    assert_equal_images(recorded.image, plain.image)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA graphs")
def test_without_cuda_an_explicit_wish_says_why() -> None:
    H = SuperResolution(SHAPE, 2)
    with pytest.raises(BackendUnavailable, match=r"cuda_graph=True.*CUDA"):
        solver(H, True).solve(H(images()))


def test_warm_up_is_shown_apart(graphs: FakeGraphs) -> None:
    H = SuperResolution(SHAPE, 2)
    wanted = solver(H, True)
    first, second = (wanted.solve(H(images())) for _ in range(2))
    assert 0 < first.warmup_seconds < first.seconds
    assert second.warmup_seconds == 0


def test_the_bar_names_a_warm_up_and_leaves_its_time_out(
    graphs: FakeGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str | None, float]] = []

    class Bar(tqdm):
        def set_description(self, desc: str | None = None, refresh: bool = True) -> None:
            seen.append((desc, self.start_t))
            super().set_description(desc, refresh)

    monkeypatch.setattr("vml_fast.solvers.base.tqdm", Bar)
    H = SuperResolution(SHAPE, 2)
    result = solver(H, True).solve(H(images()), progress=True)
    assert [what for what, _ in seen] == ["recording a CUDA graph", ""] * 2
    before, after, again, end = (start for _, start in seen)
    left_out = (after - before) + (end - again)
    assert left_out == pytest.approx(result.warmup_seconds, rel=0.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnAGPU:
    """The same promises with real CUDA graphs."""

    def test_equals_eager_for_every_jacobian_product(self) -> None:
        for jacobian in ("vjp", "jvp", "finite_difference"):
            for name in TASKS:
                H = task(name, (3, 16, 16))
                denoiser = small_denoiser((3, 16, 16)).cuda()
                y = H(images(2, (3, 16, 16)).cuda())
                settings = {"denoiser": denoiser, "noise_std": 0.05, "jacobian": jacobian}
                recorded = solver(H, True, **settings).solve(y)
                plain = solver(H, False, **settings).solve(y)
                torch.testing.assert_close(recorded.image, plain.image, rtol=1e-4, atol=1e-4)

    def test_replays_allocate_nothing(self) -> None:
        """Beyond what the trace keeps: the peak of a later solve is what it was."""
        H = SuperResolution(SHAPE, 2)
        y = H(images().cuda())
        wanted = solver(H, True, denoiser=small_denoiser().cuda(), steps=20, inner_steps=10)
        peaks = []
        for _ in range(4):
            torch.cuda.reset_peak_memory_stats()
            wanted.solve(y)
            peaks.append(torch.cuda.max_memory_allocated())
        assert peaks[1] == peaks[2] == peaks[3]

    def test_two_hundred_solves_keep_memory_flat(self) -> None:
        H = SuperResolution(SHAPE, 2)
        y = H(images().cuda())
        wanted = solver(H, True, denoiser=small_denoiser().cuda())
        for _ in range(20):
            wanted.solve(y)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        for seed in range(200):
            wanted.solve(y, seed=seed)
        torch.cuda.synchronize()
        assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == before
