"""Data sets: the right images in the right order, and one sentence for what is wrong."""

import numpy as np
import pytest
import torch
from PIL import Image

from vml_fast.errors import InputError
from vml_fast.evaluation.comparison.dataset import HELDOUT, load_dataset
from vml_fast.evaluation.heldout import heldout_emoji


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate("dacb"):
        array = np.full((8, 8, 3), 40 * i, dtype=np.uint8)
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    return tmp_path


def test_heldout_emoji_spread_evenly():
    names, images = heldout_emoji()
    data = load_dataset(HELDOUT, (3, 64, 64), 16)
    rows = [i * len(names) // 16 for i in range(16)]
    assert data.names == [names[i] for i in rows]
    assert torch.equal(data.images, images[rows])
    assert data.index.tolist() == list(range(16))


def test_a_folder_sorted_by_name(folder):
    data = load_dataset(folder, (3, 8, 8))
    assert data.names == ["a", "b", "c", "d"]
    assert data.part(2).names == ["a", "c"]
    assert data.part(2).index.tolist() == [0, 2]
    assert load_dataset(folder, (1, 8, 8)).images.shape == (4, 1, 8, 8)


def test_sizes_are_changed_on_request_only(folder):
    with pytest.raises(InputError, match=r"8×8 pixels but 6×4 are needed; pass --resize"):
        load_dataset(folder, (3, 4, 6))
    assert load_dataset(folder, (3, 4, 6), resize=True).images.shape == (4, 3, 4, 6)
    assert load_dataset(HELDOUT, (3, 16, 16), 2, resize=True).images.shape == (2, 3, 16, 16)


def test_the_digest_is_of_pixels_and_names(folder):
    before = load_dataset(folder, (3, 8, 8)).digest()
    assert load_dataset(folder, (3, 8, 8)).digest() == before
    assert load_dataset(folder, (3, 8, 8), 3).digest() != before
    Image.fromarray(np.full((8, 8, 3), 41, dtype=np.uint8)).save(folder / "a.png")
    assert load_dataset(folder, (3, 8, 8)).digest() != before


@pytest.mark.parametrize("count", [0, 5])
def test_too_many_or_no_images(folder, count):
    with pytest.raises(InputError, match="1 to 4"):
        load_dataset(folder, (3, 8, 8), count)


@pytest.mark.parametrize("values", [np.zeros((3, 8, 9)), np.full((3, 8, 8), 7.0)])
def test_arrays_are_checked(tmp_path, values):
    np.save(tmp_path / "a.npy", values.astype(np.float32))
    with pytest.raises(InputError, match=r"a\.npy"):
        load_dataset(tmp_path, (3, 8, 8))


def test_the_embedded_data_set_fits_or_says_so():
    with pytest.raises(InputError, match="pass a folder"):
        load_dataset(HELDOUT, (3, 32, 32))
