"""Pictures for training are read as all others are."""

import numpy as np
import pytest
import torch
from PIL import Image

from vml_fast.errors import InputError
from vml_fast.training.data import load_image_folder


def test_sixteen_bit_gray_keeps_its_levels(tmp_path):
    levels = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    Image.fromarray((levels >> 8).astype(np.uint8)).save(tmp_path / "flat.png")
    folder = load_image_folder(tmp_path, 8)
    assert folder.names == ["deep.png", "flat.png"]
    assert folder.images.shape == (2, 3, 8, 8) and folder.images.dtype == torch.uint8
    deep, flat = folder.images.int()
    assert deep.amin() == 0 and deep.amax() == 255
    assert (deep - flat).abs().max() <= 1


def test_transparency_is_white_and_other_sizes_are_cut_and_resized(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (40, 16), (10, 20, 30)).save(tmp_path / "wide.png")
    clear, wide = load_image_folder(tmp_path, 8).images
    assert (clear == 255).all()
    assert wide.flatten(1).unique(dim=1).flatten().tolist() == [10, 20, 30]


@pytest.mark.parametrize("name", ["animated.webp", "huge.png", "scan.tiff"])
def test_what_is_no_still_picture_of_a_readable_kind_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setattr("vml_fast.evaluation.images.MAX_PIXELS", 100)
    for index in range(2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{index}.png")
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    if name == "animated.webp":
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    else:
        frames[0].resize((20, 20)).save(tmp_path / name)
    with pytest.raises(InputError, match=f"data must hold .*{name}"):
        load_image_folder(tmp_path, 8)
