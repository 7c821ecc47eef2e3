"""Arrays of NumPy and CuPy: shared, copied only at need, and handed back in kind."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests import cupy_stand_in
from vml_fast.arrays import as_floating, as_tensor, back_to, is_array
from vml_fast.errors import InputError
from vml_fast.operators import (
    CircularBlur,
    Inpainting,
    LinearMap,
    MatrixOperator,
    SuperResolution,
)

SHAPE = (1, 4, 8)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    return cupy_stand_in.install(monkeypatch)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64, np.uint8, bool])
@pytest.mark.parametrize("view", [np.asarray, np.transpose, lambda a: a[:, ::2], lambda a: a[0, 0]])
def test_numpy_arrays_are_shared(dtype: type, view: Callable[..., Any]) -> None:
    array = np.asarray(view(np.arange(24).reshape(3, 8).astype(dtype)))
    tensor = as_tensor(array, "x")
    if array.ndim:
        assert tensor.data_ptr() == array.ctypes.data
    np.testing.assert_array_equal(tensor.numpy(), array)


def _read_only() -> np.ndarray:
    array = np.arange(6.0)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "make",
    [
        _read_only,
        lambda: np.arange(6.0)[::-1],
        lambda: np.arange(6.0).astype(">f8"),
        lambda: np.zeros(6, dtype=[("tag", "i1"), ("x", "f8")])["x"],
    ],
    ids=["read-only", "reversed", "big-endian", "between elements"],
)
def test_what_torch_cannot_share_is_copied(make: Callable[[], np.ndarray]) -> None:
    array, before = make(), make().copy()
    tensor = as_tensor(array, "x")
    np.testing.assert_array_equal(tensor.numpy(), before)
    tensor.fill_(7)
    np.testing.assert_array_equal(array, before)


def test_sequences_and_numbers() -> None:
    assert as_tensor([[1, 2], [3, 4]], "x").dtype == torch.int64
    assert as_tensor((0.1, 0.2), "x").tolist() == [0.1, 0.2]
    assert as_tensor(0.1, "x").item() == 0.1 and as_tensor(np.float64(0.1), "x").item() == 0.1
    assert as_floating([1, 2], "x").dtype == torch.float64
    assert as_floating(np.ones(2, np.float16), "x").dtype == torch.float64
    assert not is_array([1.0]) and is_array(np.ones(1)) and is_array(torch.ones(1))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "0.5",
        ["0.5"],
        [None, 1.0],
        [[1.0], [1.0, 2.0]],
        2**70,
        object(),
        np.array([object()]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.ma.masked_array([1.0, 2.0], mask=[True, False]),
        np.ones(2, dtype=np.longdouble),
        np.ones(2, dtype=np.complex64),
        1j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_holds_no_real_numbers(value: Any) -> None:
    with pytest.raises(InputError, match=r"^mask (is a|has dtype) .*numbers$") as error:
        as_tensor(value, "mask")
    assert "\n" not in str(error.value)


def test_tensors_come_back_as_the_caller_s_kind_without_a_copy(cupy: Any) -> None:
    tensor = torch.arange(6.0)
    assert back_to(torch.zeros(1))(tensor) is tensor
    as_numpy = back_to(np.zeros(1))(tensor)
    assert type(as_numpy) is np.ndarray and as_numpy.ctypes.data == tensor.data_ptr()
    as_cupy = back_to(cupy.ndarray(np.zeros(1)))(tensor)
    assert type(as_cupy) is cupy.ndarray and as_cupy.values.ctypes.data == tensor.data_ptr()
    assert as_tensor(as_cupy, "x").data_ptr() == tensor.data_ptr()


def test_a_gpu_that_torch_cannot_use_is_named(cupy: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("torch can use the GPU here")
    on_gpu = cupy.ndarray(np.zeros((1, 1, 2, 4)), cupy_stand_in.CUDA)
    with pytest.raises(InputError, match=r"x lies on a GPU .*torch .*; allowed: .*host's memory"):
        SuperResolution(SHAPE, 2)(on_gpu)


OPERATORS = {
    "block mean": SuperResolution(SHAPE, 2),
    "mask": Inpainting(SHAPE, torch.arange(32).reshape(1, 4, 8) % 3 > 0),
    "composition": SuperResolution(SHAPE, 2) @ CircularBlur(SHAPE, torch.ones(3, 3) / 9),
    "matrix-free": LinearMap(lambda x: x.cumsum(-1), SHAPE),
    "square matrix": MatrixOperator(torch.eye(32, dtype=torch.float64).cumsum(0), SHAPE),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_return_the_kind_they_are_given(name: str, dtype: torch.dtype, cupy: Any) -> None:
    H = OPERATORS[name]
    x, y = (torch.randn(2, *shape, dtype=dtype) for shape in (H.image_shape, H.measurement_shape))
    calls: dict[str, tuple[torch.Tensor, ...]] = {
        "__call__": (x,), "forward": (x,), "adjoint": (y,), "pseudo_inverse": (y,),
        "residual": (x, y),
    }  # fmt: skip
    if H.has_svd:
        z, w = torch.randn(2, 32, dtype=dtype), torch.randn(2, H.measurement_size, dtype=dtype)
        s = torch.randn(2, *H.spectral_shape, dtype=dtype)
        calls |= {
            "vt": (x,), "v": (z,), "ut": (y,), "u": (w,),
            "spectral": (x,), "spatial": (s,), "spectral_measurement": (y,),
        }  # fmt: skip
    for method, tensors in calls.items():
        expected = getattr(H, method)(*tensors)
        by_numpy = getattr(H, method)(*(tensor.numpy() for tensor in tensors))
        by_cupy = getattr(H, method)(*map(cupy_stand_in.wrap, tensors))
        assert type(by_numpy) is np.ndarray and type(by_cupy) is cupy.ndarray
        assert by_numpy.dtype == tensors[0].numpy().dtype
        np.testing.assert_array_equal(by_numpy, expected.numpy())
        np.testing.assert_array_equal(by_cupy.values, expected.numpy())


def test_operators_take_keywords_and_mixed_kinds() -> None:
    H, x = OPERATORS["block mean"], torch.randn(2, *SHAPE)
    y = H(x).numpy() + 1.0
    assert isinstance(H.forward(x=x.numpy()), np.ndarray)
    assert isinstance(H.residual(x.numpy(), torch.from_numpy(y)), np.ndarray)
    assert H.residual(x, y=y).tolist() == pytest.approx([1.0, 1.0], rel=1e-6)
    with pytest.raises(TypeError, match="positional argument"):
        H.forward()


def test_tensors_keep_their_gradient() -> None:
    H, x = OPERATORS["matrix-free"], torch.randn(2, *SHAPE, requires_grad=True)
    H.residual(x, np.zeros((2, *SHAPE), np.float32)).sum().backward()
    assert x.grad is not None and bool((x.grad != 0).all())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, *SHAPE), np.float16), "x has dtype torch.float16; allowed: torch.float32"),
        (np.zeros((2, *SHAPE), int), "x has dtype torch.int64; allowed: torch.float32"),
        (np.zeros((2, *SHAPE), complex), "x has dtype torch.complex128; allowed: real numbers"),
        (np.full((2, *SHAPE), None), "x is a ndarray that cannot be read as numbers"),
        (np.zeros(SHAPE), r"x has shape \(1, 4, 8\); SuperResolution takes \(B, 1, 4, 8\)"),
        ([[1.0]], "x is a list; allowed: a torch, NumPy or CuPy array"),
    ],
)
def test_bad_arrays(x: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        OPERATORS["block mean"](x)


def test_operator_data_of_every_kind(cupy: Any) -> None:
    mask = (np.arange(64).reshape(2, 1, 4, 8) % 3 > 0).astype(np.float32)
    kernel = np.random.default_rng(0).random((3, 3))
    x = torch.randn(2, *SHAPE)
    for array in (mask, cupy.ndarray(mask), mask.tolist()):
        assert torch.equal(Inpainting(SHAPE, array)(x), torch.from_numpy(mask) * x)
    expected = CircularBlur(SHAPE, torch.from_numpy(kernel))(x)
    for array in (kernel, cupy.ndarray(kernel), kernel.tolist()):
        assert torch.equal(CircularBlur(SHAPE, array)(x), expected)
