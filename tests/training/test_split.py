import numpy as np
import pytest
import torch
from PIL import Image

from vml_fast.denoisers.loading import PRIORS
from vml_fast.errors import InputError
from vml_fast.training.data import ImageFolder, draw_batch, load_image_folder, to_model_range
from vml_fast.training.split import compile_pattern, group_images, group_key, split_groups

VARIANTS = [
    # one base design: skin tones, genders, emoji style
    ["1f468-200d-1f680", "1f469-1f3fd-200d-1f680", "1f9d1-1f3ff-200d-1f680"],
    ["1f3c3", "1f3c3-1f3fb-200d-2640-fe0f", "1f3c3-200d-2642-fe0f-200d-27a1-fe0f"],
    ["1f468", "1f469-1f3fb", "1f9d1", "1f468-200d-1f469-200d-1f466", "1f46b-1f3fc"],
    ["263a-fe0f", "263a"],
]


@pytest.mark.parametrize("names", VARIANTS)
def test_emoji_pattern_folds_the_variants_of_one_design(names):
    pattern = compile_pattern("emoji")
    assert len({group_key(f"{name}.png", pattern) for name in names}) == 1


def test_emoji_pattern_keeps_designs_apart():
    pattern = compile_pattern("emoji")
    keys = [group_key(f"{names[0]}.png", pattern) for names in VARIANTS]
    assert len(set(keys)) == len(VARIANTS)
    assert group_key("1f1e9-1f1ea.png", pattern) == "1f1e9-1f1ea"


def test_no_group_is_on_both_sides_and_every_image_is_on_one():
    groups = [f"{index % 40}" for index in range(200)]
    split = split_groups(groups, 0.2, seed=3)
    sides = [
        {groups[i] for members in side for i in members} for side in (split.train, split.heldout)
    ]
    assert not sides[0] & sides[1]
    assert sorted(i for side in (split.train, split.heldout) for g in side for i in g) == list(
        range(200)
    )


def test_side_of_a_group_does_not_depend_on_other_groups():
    few = split_groups([f"{i}" for i in range(50)], 0.3, seed=0)
    more = split_groups([f"{i}" for i in range(100)], 0.3, seed=0)
    assert {g[0] for g in few.heldout} == {g[0] for g in more.heldout if g[0] < 50}


def test_near_duplicates_share_a_group():
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    images[3] = images[1]
    images[3, :, 0, 0] ^= 255
    folder = ImageFolder(["a.png", "b.png", "c.png", "d.png"], images)
    assert group_images(folder, None, 0.0) == ["a", "b", "c", "d"]
    assert group_images(folder, None, 0.05) == ["a", "b", "c", "b"]


def test_embedded_heldout_list_is_closed_under_grouping():
    path = PRIORS / "emoji64" / "heldout.txt"
    if not path.exists():
        pytest.skip("the embedded prior is not installed")
    names = path.read_text("utf-8").split()
    pattern = compile_pattern("emoji")
    assert names == sorted(set(names))
    # every skin-tone variant of a held-out hand or person is held out with it
    by_key = {}
    for name in names:
        by_key.setdefault(group_key(name, pattern), []).append(name)
    assert all(sum("1f3f" in n for n in members) % 5 == 0 for members in by_key.values())


def test_training_draws_groups_and_not_images_uniformly():
    images = torch.zeros(101, 3, 2, 2, dtype=torch.uint8)
    images[100] = 255
    drawn = draw_batch(
        images, [list(range(100)), [100]], 1000, False, torch.Generator().manual_seed(0)
    )
    assert 0.45 < (drawn[:, 0, 0, 0] > 0).float().mean() < 0.55


def test_pictures_are_cropped_resized_and_composited_on_white(tmp_path):
    pixels = np.zeros((40, 80, 4), np.uint8)
    pixels[:, 40:, 3] = 255  # left half transparent, right half black
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    (tmp_path / "below").mkdir()
    Image.new("L", (16, 16), 128).save(tmp_path / "below" / "gray.jpg")
    folder = load_image_folder(tmp_path, 8)
    assert folder.names == ["below/gray.jpg", "wide.png"]
    wide = to_model_range(folder.images)[1]
    torch.testing.assert_close(wide[:, :, 0], torch.ones(3, 8))
    torch.testing.assert_close(wide[:, :, -1], -torch.ones(3, 8))


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"data must be an existing folder of images, got .*nowhere"
    ):
        load_image_folder(tmp_path / "nowhere", 8)
    with pytest.raises(InputError, match=r"at least 2 .* got 0"):
        load_image_folder(tmp_path, 8)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"readable pictures, but .*a.png cannot be read"):
        load_image_folder(tmp_path, 8)


def test_bad_split_is_refused():
    with pytest.raises(InputError, match="heldout_fraction must leave"):
        split_groups(["a"], 0.5, 0)
    with pytest.raises(InputError, match="group_pattern must be a regular expression"):
        compile_pattern("(")
