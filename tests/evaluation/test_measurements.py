"""Simulated measurements: their noise, what a mask hides, and what is shown of them."""

import numpy as np
import pytest
import torch

from vml_fast.errors import InputError
from vml_fast.evaluation.inputs import read_clean
from vml_fast.evaluation.measurements import (
    make_operator,
    measurement_pictures,
    observed,
    simulate,
)
from vml_fast.ops.philox import normal

SHAPE = (3, 8, 8)


@pytest.fixture
def truth():
    return torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_noise_is_white_and_of_its_level():
    operator = make_operator("denoise", (3, 64, 64))
    large = torch.zeros(4, 3, 64, 64)
    noise = simulate(operator, large, 0.2, torch.arange(4), seed=1)
    assert float(noise.std()) == pytest.approx(0.2, rel=0.02)
    assert abs(float(noise.mean())) < 0.005
    flat = np.corrcoef(noise.flatten(1).numpy())
    assert np.abs(flat - np.eye(4)).max() < 0.05


def test_the_noise_is_none_of_a_solvers_draws():
    operator = make_operator("denoise", SHAPE)
    index = torch.tensor([3])
    noise = simulate(operator, torch.zeros(1, *SHAPE), 1.0, index, seed=2)
    for draw in range(100):
        of_solver = normal((1, *SHAPE), seed=torch.tensor([2]), sample=index, draw=draw)
        assert abs(float((noise * of_solver).mean())) < 0.4


def test_what_is_hidden_holds_nothing(truth):
    operator = make_operator("half", SHAPE)
    y = simulate(operator, truth, 0.3, torch.arange(2))
    assert not y[..., 4:].any()
    assert y[..., :4].all()
    assert torch.equal(observed(operator, truth)[..., :4], truth[..., :4])
    assert not observed(operator, truth)[..., 4:].any()
    plain = make_operator("sr2", SHAPE)
    y = plain.forward(truth)
    assert observed(plain, y) is y


def test_pictures_show_hidden_pixels_in_the_wanted_brightness(truth):
    operator = make_operator("half", SHAPE)
    y = operator.forward(truth)
    assert torch.equal(measurement_pictures(operator, y), y)
    shown = measurement_pictures(operator, y, hidden=0.5)
    assert torch.equal(shown[..., :4], y[..., :4])
    assert (shown[..., 4:] == 0.5).all()


def test_what_is_no_picture_is_shown_by_its_pseudo_inverse(truth):
    operator = make_operator("walsh-hadamard", SHAPE)
    y = operator.forward(truth)
    shown = measurement_pictures(operator, y)
    assert shown.shape == truth.shape
    torch.testing.assert_close(operator.forward(shown), y, atol=1e-5, rtol=1e-4)


def test_a_mask_is_for_inpainting_alone():
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:4] = 1
    operator = make_operator("inpaint", SHAPE, mask=mask)
    assert torch.equal(operator.forward(torch.ones(1, *SHAPE))[0, 0], mask[0])
    with pytest.raises(InputError, match="takes no mask"):
        make_operator("half", SHAPE, mask=mask)


def test_the_size_of_the_file_is_told_before_it_is_resized(tmp_path):
    sizes = []
    np.save(tmp_path / "x.npy", np.zeros(SHAPE, np.float32))

    def check(path, height, width):
        sizes.append((path.name, height, width))

    read_clean(tmp_path / "x.npy", SHAPE, resize=True, check_size=check)
    assert sizes == [("x.npy", 8, 8)]
    with pytest.raises(InputError, match=r"x\.npy has the shape \(3, 8, 8\)"):
        read_clean(tmp_path / "x.npy", (3, 4, 4), resize=True)
