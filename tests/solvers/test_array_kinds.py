"""`solve` takes and returns the caller's kind of array, with the same numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests import cupy_stand_in
from tests.solvers.problems import SHAPE, problem
from vml_fast.errors import InputError
from vml_fast.operators import Inpainting
from vml_fast.solvers import State, restore

SETTINGS = {"noise_std": 0.05, "steps": 4, "inner_steps": 2}
KINDS = ("numpy", "cupy")


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[type, Callable[..., Any]]]:
    """Name of a kind: its type, and how to make one of a tensor."""
    cupy = cupy_stand_in.install(monkeypatch)
    return {
        "numpy": (np.ndarray, torch.Tensor.numpy),
        "cupy": (cupy.ndarray, cupy_stand_in.wrap),
    }


def _numbers(array: Any) -> np.ndarray:
    return getattr(array, "values", array)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KINDS)
def test_every_array_that_comes_back_is_of_the_kind_of_y(
    name: str, dtype: torch.dtype, kinds: Any
) -> None:
    kind, make = kinds[name]
    setting = problem(noise_std=0.05, dtype=dtype)
    seen: list[State] = []
    expected = restore(setting.y, setting.operator, setting.denoiser, keep_images=True, **SETTINGS)
    before = setting.y.clone()
    result = restore(
        make(setting.y),
        setting.operator,
        setting.denoiser,
        keep_images=True,
        callback=seen.append,
        **SETTINGS,
    )
    assert torch.equal(setting.y, before)
    pairs = [(result.image, expected.image), (result.residual, expected.residual)]
    for states in (result.trace, seen):
        for state, same in zip(states, expected.trace, strict=True):
            pairs += [(state.denoised, same.denoised), (state.residual, same.residual)]
    for array, tensor in pairs:
        assert type(array) is kind
        assert _numbers(array).dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(_numbers(array), tensor.numpy())


@pytest.mark.parametrize("name", KINDS)
def test_every_argument_may_be_an_array(name: str, kinds: Any) -> None:
    _, make = kinds[name]
    setting = problem(noise_std=0.05, dtype=torch.float32)
    arguments = {
        "noise_std": torch.tensor([0.05, 0.0, 0.1, 0.05]),
        "schedule": torch.tensor([10.0, 1.0, 0.1], dtype=torch.float64),
        "stop_sigma": torch.tensor([0.5, 0.0, 0.0, 2.0]),
        "seed": torch.tensor([3, 3, 4, 5]),
        "sample_index": torch.tensor([7, 8, 2, 3], dtype=torch.int32),
        "initial": torch.randn(4, *SHAPE),
    }
    before = {key: tensor.clone() for key, tensor in arguments.items()}
    arrays = {key: make(tensor) for key, tensor in arguments.items()}
    run = (setting.operator, setting.denoiser)
    expected = restore(setting.y, *run, inner_steps=2, **arguments).image
    result = restore(make(setting.y), *run, inner_steps=2, **arrays).image
    np.testing.assert_array_equal(_numbers(result), expected.numpy())
    mixed = restore(setting.y, *run, inner_steps=2, **arrays).image
    assert torch.equal(mixed, expected)
    assert all(torch.equal(arguments[key], before[key]) for key in before)


@pytest.mark.parametrize("method", ["map-ga-d", "ddrm", "pigdm", "daps", "dps"])
def test_other_methods_too(method: str) -> None:
    setting = problem()
    operator = Inpainting(SHAPE, torch.arange(8).reshape(SHAPE) % 3 > 0)
    y, initial = operator(setting.truth).float(), torch.randn(4, *SHAPE)
    before = y.clone(), initial.clone()
    run = {"method": method, "initial": initial, "noise_std": 0.05, "steps": 3}
    expected = restore(y, operator, setting.denoiser, **run)
    assert torch.equal(y, before[0]) and torch.equal(initial, before[1])
    result = restore(y.numpy(), operator, setting.denoiser, **run | {"initial": initial.numpy()})
    assert type(result.image) is np.ndarray and type(result.trace[0].residual) is np.ndarray
    np.testing.assert_array_equal(result.image, expected.image.numpy())


def test_read_only_and_reversed_measurements() -> None:
    setting = problem(noise_std=0.05)
    expected = restore(setting.y, setting.operator, setting.denoiser, **SETTINGS).image
    y = setting.y.numpy().copy()
    y.flags.writeable = False
    for array in (y, y[::-1].copy()[::-1], y.astype(">f8"), np.asfortranarray(y)):
        result = restore(array, setting.operator, setting.denoiser, **SETTINGS)
        np.testing.assert_allclose(result.image, expected.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: y.astype(np.float16), "y has dtype torch.float16; it must be float32 or"),
        (lambda y: y.astype(int), "y has dtype torch.int64; it must be float32 or float64"),
        (lambda y: y.astype(object), "y is a ndarray that cannot be read as numbers"),
        (lambda y: y * np.nan, "y holds NaN"),
        (lambda y: y[0], "batch first"),
        (lambda y: y.tolist(), "y is a list; it must be a torch tensor, or a NumPy or CuPy array"),
    ],
)
def test_bad_measurements(change: Callable[[Any], Any], said: str) -> None:
    setting = problem()
    with pytest.raises(InputError, match=said) as error:
        restore(change(setting.y.numpy()), setting.operator, setting.denoiser)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"noise_std": "0.05"}, "noise_std is a str .*; allowed: a number or 4 of them"),
        ({"noise_std": np.full(3, 0.1)}, r"noise_std has shape \(3,\)"),
        ({"seed": np.zeros(4)}, "seed is array"),
        ({"seed": np.zeros(4, bool)}, "seed is array"),
        ({"sample_index": "0123"}, "sample_index is a str .*; allowed: a whole number or 4"),
        ({"initial": np.zeros((1, *SHAPE))}, "initial has shape"),
        ({"initial": "noise"}, "initial is a str"),
        ({"schedule": "edm"}, "schedule is a str"),
    ],
)
def test_bad_arguments(keywords: dict[str, Any], said: str) -> None:
    setting = problem()
    with pytest.raises(InputError, match=said):
        restore(setting.y, setting.operator, setting.denoiser, **keywords)
