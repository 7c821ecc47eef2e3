"""A tiny untrained prior, pictures to restore, and the command line in this process."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from vml_fast.cli.main import app

SIZE = 16
FAST = ("--steps", "2", "--inner-steps", "1", "--no-figures")


def save_prior(folder, channels=3):
    """A diffusers U-Net with random weights, as `load_denoiser` reads it."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=SIZE,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    )
    network.save_pretrained(folder)
    record = {"kind": "edm", "image_shape": [channels, SIZE, SIZE]}
    (folder / "denoiser.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="session")
def prior(tmp_path_factory):
    return save_prior(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="session")
def gray_prior(tmp_path_factory):
    return save_prior(tmp_path_factory.mktemp("gray-prior"), channels=1)


def picture(seed=0, height=SIZE, width=SIZE):
    """A smooth random color picture, (height, width, 3) uint8."""
    coarse = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (smooth[0].permute(1, 2, 0) * 255).round().byte().numpy()


def save(path, array, **options):
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


@pytest.fixture
def photos(tmp_path):
    """A folder of three clean pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(("ant", "bee", "cat")):
        save(folder / f"{name}.png", picture(seed))
    return folder


def run(*arguments):
    """The command line; its exit code, stdout and stderr."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def restore(prior, tmp_path):
    """`vml-fast restore` with the tiny prior; returns the output folder and the record."""

    def call(*arguments, output="out", code=0, using=prior):
        folder = tmp_path / output
        result = run("restore", *arguments, "--prior", using, "--output", folder, *FAST)
        assert result.exit_code == code, result.output + repr(result.exception)
        return folder, json.loads((folder / "restore.json").read_text())

    return call


def pixels(path):
    """A picture's levels, int."""
    return np.asarray(Image.open(path)).astype(int)
