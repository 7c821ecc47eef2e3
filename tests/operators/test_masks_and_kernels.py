"""Masks and kernels have exactly the values that their definitions state."""

import numpy as np
import pytest
import scipy.signal
import torch

from vml_fast.operators import (
    alternate_rows_mask,
    box_mask,
    expand_mask,
    gaussian_kernel,
    half_mask,
    motion_kernel,
    random_mask,
    subsample_mask,
    uniform_kernel,
)


def _picture(mask: torch.Tensor) -> list[str]:
    assert mask.dtype == torch.bool and mask.shape[0] == 1
    return ["".join("x" if pixel else "." for pixel in row) for row in mask[0]]


def test_half_mask() -> None:
    assert _picture(half_mask((3, 2, 4))) == ["xx..", "xx.."]
    assert _picture(half_mask((3, 1, 5), "right")) == ["xxx.."]
    assert _picture(half_mask((3, 1, 5), "left")) == ["..xxx"]
    assert _picture(half_mask((1, 4, 1), "top")) == [".", ".", "x", "x"]
    assert _picture(half_mask((1, 3, 2), "bottom")) == ["xx", "xx", ".."]


def test_box_and_expand_masks() -> None:
    box = ["xxxxxxxx", "xx....xx", "xx....xx", "xxxxxxxx"]
    assert _picture(box_mask((3, 4, 8), 0.5)) == box
    assert torch.equal(expand_mask((3, 4, 8), 0.5), ~box_mask((3, 4, 8), 0.5))
    assert int(expand_mask((3, 64, 64)).sum()) == 16 * 16
    assert bool(expand_mask((3, 64, 64))[0, 24:40, 24:40].all())
    assert int((~box_mask((3, 256, 256))).sum()) == 128 * 128


def test_random_mask() -> None:
    mask = random_mask((3, 50, 40), 0.7, seed=2)
    assert int((~mask).sum()) == 1400
    assert torch.equal(mask, random_mask((1, 50, 40), 0.7, seed=2))
    assert not torch.equal(mask, random_mask((3, 50, 40), 0.7, seed=3))
    assert bool(random_mask((1, 4, 4), 0.0).all())
    # Spread evenly: each quarter hides about 350 ± 4 standard deviations.
    quarters = (~mask)[0].reshape(2, 25, 2, 20).sum((1, 3))
    assert bool(((quarters - 350).abs() < 60).all())


def test_random_mask_is_the_same_everywhere() -> None:
    """Pinned: a mask named by its seed must not change between versions or machines."""
    hidden = (~random_mask((1, 4, 8), 0.25, seed=0)).flatten().nonzero().flatten()
    assert hidden.tolist() == [1, 2, 3, 11, 13, 15, 20, 21]


def test_subsample_and_alternate_rows_masks() -> None:
    assert _picture(subsample_mask((3, 3, 5), 2)) == ["x.x.x", ".....", "x.x.x"]
    assert _picture(subsample_mask((3, 4, 4), 3)) == ["x..x", "....", "....", "x..x"]
    assert _picture(alternate_rows_mask((3, 5, 2))) == ["xx", "..", "xx", "..", "xx"]


@pytest.mark.parametrize(("taps", "std"), [(13, 2.0), (61, 3.0), (4, 1.0), (1, 5.0), (9, 1e-4)])
def test_gaussian_kernel(taps: int, std: float) -> None:
    window = scipy.signal.windows.gaussian(taps, std)
    np.testing.assert_allclose(gaussian_kernel(taps, std), window / window.sum(), atol=1e-15)


def test_uniform_kernel() -> None:
    assert uniform_kernel(4).tolist() == [0.25] * 4


@pytest.mark.parametrize("size", [3, 15, 61])
@pytest.mark.parametrize("intensity", [0.0, 0.5, 1.0])
def test_motion_kernel(size: int, intensity: float) -> None:
    for seed in range(5):
        kernel = motion_kernel(size, intensity, seed)
        assert kernel.shape == (size, size) and kernel.dtype == torch.float64
        assert float(kernel.min()) >= 0 and float(kernel.sum()) == pytest.approx(1)
        rows = torch.arange(size, dtype=torch.float64) - size // 2
        # Its center of mass is the center, so that it does not displace an image.
        assert float((kernel.sum(1) * rows).sum()) == pytest.approx(0, abs=1e-9)
        assert float((kernel.sum(0) * rows).sum()) == pytest.approx(0, abs=1e-9)
        assert torch.equal(kernel, motion_kernel(size, intensity, seed))
    assert not torch.equal(motion_kernel(size, intensity, 0), motion_kernel(size, intensity, 1))


def test_intensity_bends_the_path() -> None:
    """0 draws a straight line: no width across its direction but that of the pixels."""

    def width(kernel: torch.Tensor) -> float:
        at = torch.stack(torch.meshgrid(*[torch.arange(61.0) - 30] * 2, indexing="ij")).double()
        covariance = torch.einsum("ihw,jhw,hw->ij", at, at, kernel)
        return float(torch.linalg.eigvalsh(covariance)[0])

    straight = [width(motion_kernel(61, 0.0, seed)) for seed in range(8)]
    shaken = [width(motion_kernel(61, 1.0, seed)) for seed in range(8)]
    assert max(straight) < 0.5
    assert np.median(shaken) > 3
