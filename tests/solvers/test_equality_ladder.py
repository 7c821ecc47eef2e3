"""Reference = eager = compiled = recorded, with the same seeds: each rung within 1e-4 relative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import vml_fast as vf
from tests.runtime.fake_graph import fake_graphs
from tests.runtime.networks import small_denoiser
from vml_fast.denoisers import EDMDenoiser, ScaledDenoiser
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.operators import task
from vml_fast.runtime import compiled

RELATIVE = 1e-4
CPU = torch.device("cpu")
RUNGS = {
    "eager": {"compile": False, "cuda_graph": False},
    "compiled": {"compile": True, "cuda_graph": False},
    "recorded": {"compile": False, "cuda_graph": True},
    "compiled and recorded": {"compile": True, "cuda_graph": True},
}
Climb = Callable[..., None]


@pytest.fixture(params=RUNGS)
def rung(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """The keywords of a runner; where there is no GPU its graphs are acted."""
    settings = RUNGS[request.param]
    if settings["compile"] and compiled.obstacle(CPU, "vjp"):
        pytest.skip("no C++ compiler")
    if settings["compile"] and settings["cuda_graph"] and not torch.cuda.is_available():
        pytest.skip("compiled code does not pass through the dispatcher that acts for graphs")
    return settings


@pytest.fixture
def quick_rung(rung: dict[str, bool]) -> dict[str, bool]:
    """Without those that compile a U-Net, which takes minutes."""
    if rung["compile"]:
        pytest.skip("among the slow tests")
    return rung


def climb(
    denoiser: ScaledDenoiser, name: str, truth: Tensor, rung: dict[str, bool], **settings: Any
) -> None:
    """Compare a rung with the plain reference on a whole solve."""
    H = task(name, tuple(truth.shape[1:]))
    y = H(truth)
    expected = vf.reference.vml_map(denoiser, H, y, seed=4, **settings)
    if rung["cuda_graph"] and not truth.is_cuda:
        with fake_graphs():
            image = vf.VMLMAP(denoiser, H, **settings, **rung).solve(y, seed=4).image
    else:
        image = vf.VMLMAP(denoiser, H, **settings, **rung).solve(y, seed=4).image
    error = float((image - expected).norm() / expected.norm())
    assert error < RELATIVE


def small_unet(device: str = "cpu") -> EDMDenoiser:
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = diffusers.UNet2DModel(
            sample_size=16,
            in_channels=3,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )
    return EDMDenoiser(network.to(device), (3, 16, 16))


def some_images(batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("noise_std", [0.0, 0.05])
@pytest.mark.parametrize("name", ["random70", "deblur-gauss"])
def test_few_layers(rung: dict[str, bool], name: str, noise_std: float) -> None:
    denoiser = small_denoiser((3, 16, 16))
    climb(denoiser, name, some_images(), rung, steps=20, inner_steps=10, noise_std=noise_std)


@pytest.mark.parametrize("noise_std", [0.0, 0.05])
def test_small_unet(quick_rung: dict[str, bool], noise_std: float) -> None:
    settings = {"steps": 20, "inner_steps": 3, "noise_std": noise_std}
    climb(small_unet(), "random70", some_images(), quick_rung, **settings)


@pytest.mark.slow
def test_small_unet_on_every_rung(rung: dict[str, bool]) -> None:
    climb(small_unet(), "sr2", some_images(), rung, steps=20, inner_steps=10)


def test_emoji64_in_short(quick_rung: dict[str, bool]) -> None:
    prior = vf.accelerate(vf.load_denoiser("emoji64"), dtype="float32")
    climb(prior, "sr4", heldout_emoji(limit=1)[1], quick_rung, steps=3, inner_steps=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["half", "sr4"])
def test_emoji64(rung: dict[str, bool], name: str) -> None:
    prior = vf.accelerate(vf.load_denoiser("emoji64"), dtype="float32")
    truth = heldout_emoji(limit=1)[1]
    climb(prior, name, truth, rung, steps=20, inner_steps=10)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_emoji64_on_a_gpu(rung: dict[str, bool]) -> None:
    prior = vf.accelerate(vf.load_denoiser("emoji64", device="cuda"), dtype="float32")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        truth = heldout_emoji(limit=2)[1].cuda()
        climb(prior, "sr4", truth, rung, steps=20, inner_steps=10)
