"""ST-LPIPS against numbers of the authors' code, and what is said where weights are missing."""

import importlib.util

import pytest
import torch

from vml_fast.errors import InputError
from vml_fast.evaluation import perceptual
from vml_fast.evaluation.heldout import heldout_emoji

SHAPE = (3, 64, 64)


def _random_weights():
    generator = torch.Generator().manual_seed(0)
    shapes = [(64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3)]
    weights = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    weights["scaling_layer.scale"] = torch.ones(1, 3, 1, 1)
    for i, (name, (out, into, side)) in enumerate(
        zip(perceptual._CONVOLUTIONS, shapes, strict=True)
    ):
        kernel = torch.randn(out, into, side, side, generator=generator)
        weights[f"{name}.weight"] = kernel / (into * side**2) ** 0.5
        weights[f"{name}.bias"] = torch.zeros(out)
        weights[f"lin{i}.model.1.weight"] = torch.rand(1, out, 1, 1, generator=generator)
    return weights


def test_the_values_of_the_authors_code():
    """Emoji against their 4×4 block means; the numbers are from stlpips-pytorch 0.0.2 itself."""
    pytest.importorskip("stlpips_pytorch", exc_type=ImportError, reason="weights not installed")
    measures, _ = perceptual.perceptual_measures(SHAPE)
    _, truth = heldout_emoji(limit=3)
    blocks = torch.nn.functional.avg_pool2d(truth, 4)
    images = blocks.repeat_interleave(4, 2).repeat_interleave(4, 3)
    found = measures["st_lpips"](images, truth)
    expected = [0.05094242841005325, 0.06890910118818283, 0.12199878692626953]
    torch.testing.assert_close(found, torch.tensor(expected).double(), atol=1e-6, rtol=0)


def test_st_lpips_is_a_distance_per_image():
    measure = perceptual.ShiftTolerantLPIPS(_random_weights())
    truth = torch.rand(2, *SHAPE) * 2 - 1
    images = truth.clone()
    images[1] += 0.5 * torch.randn(SHAPE)
    same, other = measure(images, truth).tolist()
    assert same == 0.0
    assert other > 0.0
    alone = measure(images[1:], truth[1:])
    torch.testing.assert_close(alone, torch.tensor([other]).double(), atol=1e-6, rtol=0)


def test_another_state_dict_is_one_sentence():
    weights = _random_weights()
    del weights["lin2.model.1.weight"]
    with pytest.raises(InputError, match="lin2"):
        perceptual.ShiftTolerantLPIPS(weights)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    measures, missing = perceptual.perceptual_measures(SHAPE)
    assert measures == {}
    assert [text.split(":")[0] for text in missing] == ["LPIPS", "ST-LPIPS"]
    assert "torchvision is not installed" in missing[0]


def test_lpips_is_never_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert "weights are not at" in perceptual._lpips()


def test_a_diverged_image_has_no_distance():
    def metric(x, truth):
        if not x.isfinite().all() or x.abs().max() > 1:
            raise ValueError("torchmetrics takes values in [-1, 1]")
        return (x - truth).abs().mean()

    images = torch.full((3, *SHAPE), 3.0)
    images[1, 0, 0, 0] = torch.nan
    found = perceptual._image_by_image(metric, images, torch.zeros(3, *SHAPE))
    assert found[[0, 2]].tolist() == [1.0, 1.0] and found[1].isnan()


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 16, 64)])
def test_images_that_alexnet_cannot_see(shape):
    measures, missing = perceptual.perceptual_measures(shape)
    assert measures == {}
    assert str(shape) in missing[0]
