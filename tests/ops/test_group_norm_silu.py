"""GroupNorm + scale-shift + SiLU: against torch's own layers and autograd, in every variant."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import group_norm, silu

from tests.ops import helpers
from tests.ops.helpers import DEVICES, everywhere, kernels
from vml_fast.ops import resolve
from vml_fast.ops.group_norm_silu import group_norm_silu

NAME = "group_norm_silu"
FORWARD, BACKWARD = "group_norm_silu_forward", "group_norm_silu_backward"

film = pytest.mark.parametrize("film", ["none", "scale", "shift", "both"])
activations = pytest.mark.parametrize("activation", [True, False])


def arguments(
    shape: tuple[int, ...],
    groups: int = 1,
    film: str = "both",
    activation: bool = True,
    dtype: torch.dtype = torch.float32,
) -> tuple:
    """Of `group_norm_silu`; scale and shift are the halves of one linear layer's output."""
    b, c = shape[:2]
    x, weight, bias = torch.randn(shape) * 2 + 1, torch.randn(c), torch.randn(c)
    scale, shift = torch.randn(b, 2 * c).to(dtype).chunk(2, dim=1)
    scale = scale if film in ("scale", "both") else None
    shift = shift if film in ("shift", "both") else None
    return x.to(dtype), groups, weight.to(dtype), bias.to(dtype), 1e-5, scale, shift, activation


def backward_arguments(given: tuple) -> tuple:
    """Of the backward op, with a random gradient of the output and the statistics of the input."""
    x, groups, weight, bias, _, scale, shift, activation = given
    _, mean, rstd = helpers.run(FORWARD, "reference", *given)
    gradient = torch.empty_like(x).copy_(torch.randn(x.shape))
    return gradient, x, mean, rstd, groups, weight, bias, scale, shift, activation


def torch_layers(x: Tensor, groups: int, weight: Tensor, bias: Tensor, *rest: object) -> Tensor:
    """What a network writes down for the op."""
    eps, scale, shift, activation = rest
    out = group_norm(x, groups, weight, bias, eps)
    if scale is not None:
        out = out * (1 + scale[:, :, None, None])
    if shift is not None:
        out = out + shift[:, :, None, None]
    return silu(out) if activation else out


def torch_gradient(given: tuple, gradient: Tensor) -> Tensor:
    """Autograd's gradient with respect to x."""
    leaf = given[0].clone().requires_grad_()
    return torch.autograd.grad(torch_layers(leaf, *given[1:]), leaf, gradient)[0]


@film
@activations
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_references_are_the_layers_of_torch(groups: int, film: str, activation: bool) -> None:
    given = arguments((2, 6, 4, 5), groups, film, activation, torch.float64)
    expected = torch_layers(*given)
    out, mean, rstd = helpers.run(FORWARD, "reference", *given)
    helpers.assert_agrees((out, group_norm_silu(*given)), (expected, expected), 1e-13)
    grouped = given[0].reshape(2, groups, -1)
    statistics = grouped.mean(2), (grouped.var(2, correction=0) + 1e-5).rsqrt()
    helpers.assert_agrees((mean, rstd), statistics, 1e-13)
    backward = backward_arguments(given)
    (dx,) = helpers.run(BACKWARD, "reference", *backward)
    helpers.assert_agrees((dx,), (torch_gradient(given, backward[0]),), 1e-12)


GROUPED = [
    ((2, 6, 8, 8), 3),
    ((1, 1, 1, 1), 1),  # a single element: the variance is 0
    ((3, 5, 5, 7), 5),  # one channel to a group, odd sizes
    ((2, 12, 33, 65), 4),  # groups of 3 channels; more than one stretch, with a remainder
    ((1, 32, 3, 3), 32),  # as many groups as most networks have, fewer pixels than a vector
    ((2, 64, 9, 1), 8),  # a column; 8 channels to a group
    ((2, 20, 1, 9), 2),  # a row; 10 channels to a group
    ((1, 48, 1, 1), 4),  # one pixel: contiguous and channels-last at once
    ((1, 3, 128, 128), 1),  # a group that is larger than the first-level cache
    ((0, 6, 8, 8), 3),  # an empty batch
]


@kernels
@pytest.mark.filterwarnings("ignore:var_mean")  # of the reference, for an empty batch
@pytest.mark.parametrize(("shape", "groups"), GROUPED, ids=str)
@helpers.layouts
def test_layouts_and_shapes(
    backend: str, shape: tuple[int, ...], groups: int, layout: str, poisoned_memory: None
) -> None:
    given = helpers.placed(arguments(shape, groups), layout)
    helpers.assert_backend_agrees(FORWARD, backend, given)
    # Of a group without variance the gradient is what is left of a difference: nothing to compare.
    if given[0].numel() == 0 or helpers.run(FORWARD, "reference", *given)[2].max() < 100:
        helpers.assert_backend_agrees(BACKWARD, backend, backward_arguments(given))


@kernels
@helpers.layouts
def test_outputs_have_the_memory_format_of_the_input(backend: str, layout: str) -> None:
    given = helpers.placed(arguments((2, 6, 4, 10), 2), layout)
    strides = torch.empty_like(given[0]).stride()
    gradient, *rest = backward_arguments(given)
    for name in ("reference", backend):
        assert helpers.run(FORWARD, name, *given)[0].stride() == strides
        for place in helpers.LAYOUTS.values():
            assert helpers.run(BACKWARD, name, place(gradient), *rest)[0].stride() == strides


@kernels
@film
@activations
@helpers.network_formats
def test_variants(backend: str, film: str, activation: bool, layout: str) -> None:
    given = helpers.placed(arguments((3, 8, 6, 11), 2, film, activation), layout)
    helpers.assert_backend_agrees(FORWARD, backend, given)
    helpers.assert_backend_agrees(BACKWARD, backend, backward_arguments(given))


@kernels
@helpers.network_dtypes
@helpers.network_formats
@pytest.mark.parametrize("weights", ["of the network", "float32"])
def test_network_dtypes(backend: str, dtype: torch.dtype, layout: str, weights: str) -> None:
    """Errors against float64 are at most twice those of torch's layers and of the reference."""
    given = list(helpers.placed(arguments((2, 12, 17, 19), 3, dtype=dtype), layout))
    if weights == "float32":
        given[2:4] = (t.float() for t in given[2:4])
    if dtype != torch.float64:
        helpers.assert_backend_no_worse_than_torch(FORWARD, backend, tuple(given))
    backward = backward_arguments(tuple(given))
    exact = tuple(helpers.in_float64(tuple(given)))
    truth = torch_layers(*exact), torch_gradient(exact, backward[0].double())
    layers = [given[0], given[1], given[2].to(dtype), given[3].to(dtype), *given[4:]]
    of_torch = torch_layers(*layers), torch_gradient(tuple(layers), backward[0])
    values = helpers.run(FORWARD, backend, *given)[0], helpers.run(BACKWARD, backend, *backward)[0]
    helpers.assert_no_worse_than_torch(values, of_torch, truth)


@kernels
def test_float64_is_float64(backend: str) -> None:
    given = arguments((2, 6, 9, 5), 3, dtype=torch.float64)
    backward = backward_arguments(given)
    values = helpers.run(FORWARD, backend, *given)[0], helpers.run(BACKWARD, backend, *backward)[0]
    truth = torch_layers(*given), torch_gradient(given, backward[0])
    helpers.assert_agrees(values, truth, 1e-12)


@kernels
@pytest.mark.parametrize("mean", [1e3, -3e4])
@helpers.network_formats
def test_means_far_from_zero(backend: str, mean: float, layout: str) -> None:
    """Sums of squares would lose every digit of the variance."""
    x, *rest = arguments((2, 6, 16, 16), 2)
    given = helpers.placed((x + mean, *rest), layout)
    values = helpers.run(FORWARD, backend, *given)
    exact = helpers.run(FORWARD, "reference", *helpers.in_float64(given))
    others = helpers.run(FORWARD, "reference", *given)
    helpers.assert_no_worse_than_torch(values, others, exact)


@kernels
def test_a_constant_image_becomes_the_offset(backend: str) -> None:
    x, groups, weight, bias, eps, _, _, activation = arguments((2, 6, 5, 5), 3, "none")
    given = (torch.full_like(x, 3.0), groups, weight, bias, eps, None, None, activation)
    out, mean, rstd = helpers.run(FORWARD, backend, *given)
    expected = silu(bias).view(1, 6, 1, 1).expand_as(out)
    helpers.assert_agrees((out, mean), (expected, torch.full((2, 3), 3.0)))
    helpers.assert_agrees((rstd,), (torch.full((2, 3), eps**-0.5),))


@kernels
@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_not_a_number_stays_none_in_bfloat16(backend: str, layout: str) -> None:
    """The NaN whose bits are all 1 too, of which rounding as of numbers would make 0."""
    x, groups, weight, *rest = arguments((2, 4, 8, 9), 2)
    weight = weight.clone()
    weight[1] = torch.tensor(-1, dtype=torch.int32).view(torch.float32)
    given = (helpers.LAYOUTS[layout](x.bfloat16()), groups, weight, *rest)
    out = helpers.run(FORWARD, backend, *given)[0]
    dx = helpers.run(BACKWARD, backend, *backward_arguments(given))[0]
    assert out[:, 1].isnan().all() and not out[:, [0, 2, 3]].isnan().any()
    assert dx[:, :2].isnan().all() and not dx[:, 2:].isnan().any()


@everywhere
def test_samples_are_independent(backend: str) -> None:
    """NaN in one sample stays in that sample."""
    given = arguments((3, 4, 6, 6), 2)
    outputs = []
    for poison in (1.0, float("nan")):
        x = given[0].clone()
        x[1] *= poison
        changed = (x, *given[1:])
        torch.manual_seed(1)
        backward = backward_arguments(changed)
        outputs.append(
            helpers.run(FORWARD, backend, *changed) + helpers.run(BACKWARD, backend, *backward)
        )
    for clean, dirty in zip(*outputs, strict=True):
        assert torch.equal(clean[::2], dirty[::2])
        assert dirty[1].isnan().all()


@kernels
@pytest.mark.parametrize("threads", [2, 5])
@helpers.network_formats
def test_threads_share_the_work(backend: str, threads: int, layout: str) -> None:
    given = helpers.placed(arguments((2, 32, 48, 48), 8), layout)
    backward = backward_arguments(given)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        forward = helpers.run(FORWARD, backend, *given)
        dx = helpers.run(BACKWARD, backend, *backward)
    finally:
        torch.set_num_threads(before)
    helpers.assert_agrees(forward, helpers.run(FORWARD, "reference", *given))
    helpers.assert_agrees(dx, helpers.run(BACKWARD, "reference", *backward))


def differentiable(backend: str, dtype: torch.dtype = torch.float32):
    return resolve(NAME, backend, DEVICES[backend], dtype)


@kernels
@film
def test_gradcheck(backend: str, film: str) -> None:
    """Finite differences in float64, with every number of channels to a group and no activation."""
    norm = differentiable(backend, torch.float64)
    for groups, activation in ((1, True), (2, True), (4, False)):
        given = arguments((2, 4, 2, 3), groups, film, activation, torch.float64)
        x, *rest = helpers.on_device(backend, *given)
        assert torch.autograd.gradcheck(lambda x: norm(x, *rest), x.requires_grad_())  # noqa: B023


@kernels
@helpers.network_formats
def test_vjp_and_autograd_are_one(backend: str, layout: str) -> None:
    """torch.func.vjp, autograd.grad and torch's own layers; a stride-0 gradient, as sums give."""
    given = helpers.placed(arguments((2, 6, 5, 7), 3), layout)
    x, *rest = helpers.on_device(backend, *given)
    norm = differentiable(backend)
    out, vjp = torch.func.vjp(lambda x: norm(x, *rest), x)
    ones = torch.ones((), device=x.device).expand_as(out)
    (pulled,) = vjp(ones)
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
    (summed,) = torch.autograd.grad(norm(leaf, *rest).sum(), leaf)
    assert torch.equal(pulled, summed)
    expected = torch_gradient(given, torch.ones(out.shape))
    helpers.assert_agrees((out.cpu(), pulled.cpu()), (torch_layers(*given), expected))


@kernels
def test_frozen_weights_get_no_gradient(backend: str) -> None:
    x, groups, weight, bias, *rest = helpers.on_device(backend, *arguments((2, 6, 5, 7), 3))
    for t in (x, weight, bias):
        t.requires_grad_()
    differentiable(backend)(x, groups, weight, bias, *rest).sum().backward()
    assert x.grad is not None and weight.grad is None and bias.grad is None


@kernels
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("x", torch.zeros(2, 6, 8)),
        ("x", torch.zeros(2, 6, 4, 4, dtype=torch.int32)),
        ("num_groups", 4),
        ("num_groups", 0),
        ("weight", torch.zeros(5)),
        ("weight", torch.zeros(1, 6)),
        ("bias", torch.zeros(6, dtype=torch.int64)),
        ("scale", torch.zeros(3, 6)),
        ("shift", torch.zeros(2, 5)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, argument: str, wrong: Tensor | int) -> None:
    given = arguments((2, 6, 4, 4), 3)
    helpers.assert_refused(FORWARD, backend, given, argument, wrong)
    if argument != "x":
        helpers.assert_refused(BACKWARD, backend, backward_arguments(given), argument, wrong)


@kernels
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("gradient", torch.zeros(2, 6, 4, 5)),
        ("gradient", torch.zeros(2, 6, 4)),
        ("mean", torch.zeros(2, 2)),
        ("mean", torch.zeros(2, 3, dtype=torch.float64)),
        ("rstd", torch.zeros(6)),
    ],
)
def test_wrong_arguments_of_the_backward_are_refused(
    backend: str, argument: str, wrong: Tensor
) -> None:
    given = backward_arguments(arguments((2, 6, 4, 4), 3))
    helpers.assert_refused(BACKWARD, backend, given, argument, wrong)


@pytest.mark.gpu
@helpers.two_devices
@kernels
def test_tensors_on_two_devices_are_refused(backend: str) -> None:
    given = arguments((2, 6, 4, 4), 3)
    helpers.assert_refuses_mixed_devices(FORWARD, backend, given)
    helpers.assert_refuses_mixed_devices(BACKWARD, backend, backward_arguments(given))


@kernels
@film
def test_opcheck(backend: str, film: str) -> None:
    given = arguments((2, 6, 4, 5), 3, film, dtype=torch.bfloat16)
    helpers.opcheck(FORWARD, backend, given)
    helpers.opcheck(BACKWARD, backend, backward_arguments(given))
    last = helpers.placed(arguments((2, 6, 4, 5), 3, film), "channels_last")
    helpers.opcheck(BACKWARD, backend, backward_arguments(last))
