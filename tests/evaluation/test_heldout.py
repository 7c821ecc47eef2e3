"""The held-out emoji of the package."""

import pytest
import torch

from vml_fast.errors import InputError
from vml_fast.evaluation.heldout import FOLDER, heldout_emoji

pytestmark = pytest.mark.skipif(
    not any(FOLDER.glob("*.png")), reason="the package's held-out emoji are not in this checkout"
)


def test_all_are_64_by_64_on_white():
    names, images = heldout_emoji()
    assert names == sorted(names)
    assert images.shape == (len(names), 3, 64, 64)
    assert float(images.min()) >= -1
    assert float(images.max()) <= 1
    corners = images[:, :, 0, 0]
    assert float((corners == 1).all(dim=1).double().mean()) > 0.9, "emoji stand on white"


def test_names_and_limit_choose():
    names, images = heldout_emoji(limit=2)
    assert len(names) == 2
    again, one = heldout_emoji([names[1]])
    assert again == [names[1]]
    assert torch.equal(one[0], images[1])


@pytest.mark.parametrize("arguments", [{"names": ["no-such"]}, {"names": []}, {"limit": 0}])
def test_unknown_names_and_limits_are_errors(arguments):
    with pytest.raises(InputError):
        heldout_emoji(**arguments)
