"""A batch that is split is restored as it is together, and its callback and records say how."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import vml_fast as vf
from tests.runtime.networks import SHAPE, small_denoiser
from vml_fast.errors import InputError
from vml_fast.operators import Inpainting, SuperResolution
from vml_fast.runtime import footprint
from vml_fast.solvers import State

B = 5
SOLVERS = {
    "vml": lambda d, H, **k: vf.VMLMAP(d, H, steps=4, inner_steps=2, **k),
    "map-ga": lambda d, H, **k: vf.MAPGA(d, H, steps=3, inner_steps=2, pigdm_steps=2, **k),
    "ddrm": lambda d, H, **k: vf.DDRM(d, H, steps=4, **k),
    "pigdm": lambda d, H, **k: vf.PiGDM(d, H, steps=4, **k),
    "daps": lambda d, H, **k: vf.DAPS(d, H, steps=3, **k),
    "dps": lambda d, H, **k: vf.DPS(d, H, steps=4, **k),
}


def truth(batch: int = B) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, *SHAPE, generator=generator) * 2 - 1


@pytest.mark.parametrize("most", [1, 2, 5, 9])
@pytest.mark.parametrize("name", SOLVERS)
def test_parts_equal_the_whole(name: str, most: int) -> None:
    """With masks, labels, noise levels, seeds and starts of each sample's own."""
    masks = (torch.rand(B, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.6).float()
    H, denoiser = Inpainting(SHAPE, masks), small_denoiser()
    solver = SOLVERS[name](denoiser, H, noise_std=torch.tensor([0.05, 0.1, 0.2, 0.05, 0.3]))
    arguments = {
        "seed": torch.tensor([7, 7, 8, 8, 9]),
        "sample_index": [4, 2, 0, 1, 3],
        "condition": {"labels": torch.tensor([0, 1, 2, 3, 0])},
        "initial": 80.0 * truth(),
        "keep_images": True,
    }
    whole = solver.solve(H(truth()), **arguments, max_batch=None)
    parts = solver.solve(H(truth()), **arguments, max_batch=most)
    torch.testing.assert_close(parts.image, whole.image, rtol=0, atol=1e-5)
    torch.testing.assert_close(parts.residual, whole.residual, rtol=0, atol=1e-5)
    assert (parts.denoiser_calls, parts.vjp_calls) == (whole.denoiser_calls, whole.vjp_calls)
    assert len(parts.trace) == len(whole.trace)
    for one, other in zip(parts.trace, whole.trace, strict=True):
        assert (one.level, one.sigma) == (other.level, other.sigma)
        torch.testing.assert_close(one.residual, other.residual, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.denoised, other.denoised, rtol=0, atol=1e-5)


def test_the_noise_of_a_part_is_that_of_the_whole() -> None:
    """Bit by bit: with no steps and one level, the image is D of the noise."""
    H = SuperResolution(SHAPE, 2)
    solver = vf.VMLMAP(lambda x, sigma: x, H, steps=1, inner_steps=0)
    y = H(truth())
    assert torch.equal(solver.solve(y, max_batch=2).image, solver.solve(y, max_batch=None).image)


def test_the_callback_sees_each_part_and_stops_them_all() -> None:
    H = SuperResolution(SHAPE, 2)
    solver = vf.VMLMAP(small_denoiser(), H, steps=4, inner_steps=1)
    seen: list[tuple[slice, int, int]] = []

    def stop_at_level_1(state: State) -> bool:
        seen.append((state.samples, state.level, len(state.residual)))
        return not (state.samples.start == 0 and state.level == 1)

    result = solver.solve(H(truth()), max_batch=2, callback=stop_at_level_1)
    parts = [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert seen == [(p, level, p.stop - p.start) for p in parts for level in (0, 1)]
    assert len(result.trace) == 2
    whole = solver.solve(H(truth()), callback=lambda state: state.level < 1)
    torch.testing.assert_close(result.image, whole.image, rtol=0, atol=1e-5)
    assert (result.denoiser_calls, result.vjp_calls) == (whole.denoiser_calls, whole.vjp_calls)


def test_a_later_part_may_stop_earlier() -> None:
    H = SuperResolution(SHAPE, 2)
    solver = vf.VMLMAP(small_denoiser(), H, steps=4, inner_steps=1)
    result = solver.solve(
        H(truth(4)),
        max_batch=2,
        keep_images=True,
        callback=lambda state: state.level < (2 if state.samples.start == 0 else 1),
    )
    assert [state.level for state in result.trace] == [0, 1, 2]
    assert torch.equal(result.trace[2].denoised, result.image)
    assert torch.equal(result.trace[1].denoised[2:], result.image[2:])


def test_auto_splits_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    H, denoiser = SuperResolution(SHAPE, 2), small_denoiser()
    solver = vf.VMLMAP(denoiser, H, steps=2, inner_steps=1)
    y = H(truth())
    sizes: list[int] = []
    forward = denoiser.network.forward

    def watched(u: Tensor, *rest: Tensor) -> Tensor:
        sizes.append(len(u))
        return forward(u, *rest)

    denoiser.network.forward = watched
    whole = solver.solve(y).image
    assert set(sizes) == {B}  # plenty of memory: nothing was tried
    trials: list[int] = []

    def peaks(*_: object) -> tuple[int, int]:
        trials.append(1)
        return 100_000, 150_000

    monkeypatch.setattr(footprint, "measured_peaks", peaks)
    monkeypatch.setattr(footprint, "free_memory", lambda device: 170_000 / footprint.SHARE)
    sizes.clear()
    assert torch.allclose(solver.solve(y).image, whole, atol=1e-5)
    assert sizes == [2] * 8 + [1] * 4  # three parts of N (K + 1) forwards
    solver.solve(y)
    assert len(trials) == 1  # the trial was not repeated
    monkeypatch.setattr(footprint, "free_memory", lambda device: 1)
    sizes.clear()
    solver.solve(y)
    assert set(sizes) == {1}


@pytest.mark.parametrize("most", [0, -1, 1.5, True, "all"])
def test_bad_values(most: object) -> None:
    H = SuperResolution(SHAPE, 2)
    with pytest.raises(InputError, match="max_batch"):
        vf.VMLMAP(small_denoiser(), H, steps=1).solve(H(truth()), max_batch=most)
