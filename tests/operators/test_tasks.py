"""Named tasks and published presets are what their definitions say."""

import pytest
import torch

from tests.operators.problems import images
from vml_fast.errors import InputError
from vml_fast.operators import (
    PRESETS,
    TASKS,
    CircularBlur,
    Inpainting,
    SeparableBlur,
    gaussian_kernel,
    motion_kernel,
    preset,
    task,
)

SHAPE = (3, 64, 64)
NAMES = ["sr2", "sr4", "sr8", "sr4-bicubic", "half", "box", "random70", "random50", "expand"]
NAMES += ["subsample2", "alternate-rows", "deblur-uniform", "deblur-gauss", "deblur-motion"]
NAMES += ["denoise", "colorize", "walsh-hadamard", "inpaint"]


def test_the_names() -> None:
    assert set(TASKS) == set(NAMES)
    assert all("\n" not in definition for definition in (*TASKS.values(), *PRESETS.values()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [SHAPE, (1, 32, 64), (4, 64, 32)], ids=str)
def test_every_task(name: str, shape: tuple[int, int, int]) -> None:
    mask = torch.ones(1, *shape[1:]) if name == "inpaint" else None
    H = task(name, shape, mask=mask)
    x = images(H, 2, torch.float32)
    assert H.image_shape == shape and H.has_svd
    assert bool(torch.isfinite(H.pseudo_inverse(H(x))).all())


@pytest.mark.parametrize(
    ("name", "observed"),
    [
        ("half", 64 * 32),
        ("box", 64 * 64 - 32 * 32),
        ("random70", 4096 - round(0.7 * 4096)),
        ("random50", 2048),
        ("expand", 16 * 16),
        ("subsample2", 32 * 32),
        ("alternate-rows", 64 * 32),
    ],
)
def test_observed_pixels(name: str, observed: int) -> None:
    H = task(name, SHAPE, seed=3)
    assert int(H.data["mask"].sum()) == observed


def test_blur_tasks() -> None:
    gauss, uniform = task("deblur-gauss", SHAPE), task("deblur-uniform", SHAPE)
    assert isinstance(gauss, SeparableBlur) and isinstance(uniform, SeparableBlur)
    assert torch.equal(gauss.data["kernel"], gaussian_kernel(13, 2.0))
    assert uniform.data["kernel"].shape == (9,)
    motion = task("deblur-motion", SHAPE, seed=4)
    assert isinstance(motion, CircularBlur)
    assert torch.equal(motion.data["kernel"], motion_kernel(15, 0.5, 4))
    for size, taps in {8: 3, 32: 7, 128: 31, 256: 61}.items():
        assert task("deblur-motion", (1, size, size)).data["kernel"].shape == (taps, taps)


def test_seeds_draw_masks_kernels_and_selections() -> None:
    for name, data in (("random70", "mask"), ("deblur-motion", "kernel")):
        first, second = task(name, SHAPE, seed=0), task(name, SHAPE, seed=1)
        assert not torch.equal(first.data[data], second.data[data])
        assert torch.equal(first.data[data], task(name, SHAPE).data[data])
    assert task("walsh-hadamard", SHAPE).measurement_shape == (3 * 64 * 64 // 4,)
    assert task("walsh-hadamard", SHAPE, ratio=0.5).measurement_shape == (3 * 64 * 64 // 2,)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset(name: str) -> None:
    made = preset(name, SHAPE)
    assert made.definition == PRESETS[name]
    x = images(made.operator, 1, torch.float32)
    assert made.operator(x).shape == (1, *made.operator.measurement_shape)
    family = name.split("/")[0]
    assert made.noise_std == {"ddrm": 0.1, "daps": 0.05, "dps": 0.05, "map-ga": 0.0}[family]
    stated = "doubled to .1" if family == "ddrm" else "noiseless" if family == "map-ga" else ".05"
    assert stated in made.definition


def test_some_presets_in_detail() -> None:
    gauss = preset("ddrm/deblur_gauss", SHAPE).operator
    assert torch.equal(gauss.data["kernel"], gaussian_kernel(5, 10.0))
    aniso = preset("ddrm/deblur_aniso", SHAPE).operator
    assert torch.equal(aniso.data["kernel"], gaussian_kernel(9, 1.0))
    assert torch.equal(aniso.data["kernel_columns"], gaussian_kernel(9, 20.0))
    box = preset("daps/inpainting", (3, 256, 256)).operator
    assert isinstance(box, Inpainting)
    assert int((box.data["mask"] == 0).sum()) == 128 * 128
    random = preset("dps/inpainting_random", SHAPE, seed=1).operator
    assert int(random.data["mask"].sum()) == 4096 - round(0.92 * 4096)
    assert preset("daps/gaussian_blur", SHAPE).operator.data["kernel"].shape == (61,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: task("sr3", SHAPE), "task is 'sr3'; allowed: sr2, "),
        (lambda: task("inpaint", SHAPE), "needs a mask"),
        (lambda: task("half", SHAPE, mask=torch.ones(1, 64, 64)), "takes no mask"),
        (lambda: task("sr4", (3, 62, 64)), "factor 4 does not divide the height 62"),
        (lambda: task("walsh-hadamard", (3, 48, 64)), "height of image_shape is 48"),
        (lambda: task("deblur-motion", (3, 2, 64)), "at least 3"),
        (lambda: task("random70", SHAPE, seed=-1), "seed is -1"),
        (lambda: preset("ddrm/none", SHAPE), "preset is 'ddrm/none'; allowed: ddrm/denoise"),
        (lambda: preset("ddrm/sr4", (3, 64)), "image_shape is"),
    ],
)
def test_bad_names_and_shapes(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
