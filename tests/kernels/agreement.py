"""Every kernel against its reference, in Triton's interpreter or on a GPU.

`test_agreement` runs this file in a process of its own: the interpreter is chosen when a kernel is
defined, by TRITON_INTERPRET=1. It is slow, so the images are small.
"""

from __future__ import annotations

import pytest
import torch

from tests.kernels.cases import ARGUMENTS, arguments, outputs
from tests.ops.helpers import (
    DEVICE,
    LAYOUTS,
    NETWORK_DTYPES,
    assert_agrees,
    assert_no_worse_than_torch,
    channels_last,
    in_float64,
    nchw,
    random_coefficients,
)
from vml_fast.errors import InputError
from vml_fast.ops.backends import OPS, resolve

SHAPES = [
    (2, 3, 8, 8),
    (1, 1, 1, 1),  # a single element
    (0, 3, 8, 8),  # an empty batch
    (2, 3, 9, 1),  # a column: pixels are rows
    (2, 1, 1, 9),  # a row
]
ODD_SHAPES = [
    (3, 4, 5, 7),  # no dimension is a multiple of a vector
    (2, 3, 19, 37),  # several tiles per image, the last one partly filled
]
FORMATS = ["nchw", "channels_last"]
ODD_FORMATS = [*FORMATS, "padded", "transposed"]
CASES = [(shape, layout) for shape in SHAPES for layout in FORMATS] + [
    (shape, layout) for shape in ODD_SHAPES for layout in ODD_FORMATS
]
BRACKETS = ["mask_bracket", "block_mean_bracket", "colorization_bracket", "general_bracket"]

pytestmark = pytest.mark.usefixtures("poisoned_memory")


def triton_op(op):
    return resolve(op, "triton", DEVICE)


def compare(op, make, tolerance=1e-5):
    """The kernel against the reference, each on arguments of its own."""
    found = outputs(op, triton_op(op), make())
    truth = outputs(op, OPS[op].reference, make())
    assert_agrees(found, truth, tolerance)
    return found, truth


def compare_to_float64(op, make):
    """The kernel's error against float64 is at most twice PyTorch's."""
    found = outputs(op, triton_op(op), make())
    torch_found = outputs(op, OPS[op].reference, make())
    exact = outputs(op, OPS[op].reference, in_float64(make()))
    assert_no_worse_than_torch(found, torch_found, exact)


def randn(*shape, **options):
    return torch.randn(*shape, device=DEVICE, **options)


def rows(batch, columns=5):
    return random_coefficients(batch, columns).to(DEVICE)


@pytest.mark.parametrize("op", list(ARGUMENTS))
@pytest.mark.parametrize(("shape", "layout"), CASES, ids=str)
def test_shapes_and_layouts(op, shape, layout):
    found, truth = compare(op, lambda: arguments(op, shape, torch.float32, LAYOUTS[layout]))
    if op == "spectral_filter":
        assert found[0].is_contiguous()
    else:
        assert [t.stride() for t in found] == [t.stride() for t in truth]


@pytest.mark.parametrize("op", list(ARGUMENTS))
@pytest.mark.parametrize("dtype", NETWORK_DTYPES, ids=str)
@pytest.mark.parametrize("layout", FORMATS)
def test_network_dtypes(op, dtype, layout):
    compare_to_float64(op, lambda: arguments(op, (2, 3, 13, 19), dtype, LAYOUTS[layout]))


@pytest.mark.parametrize("op", [*BRACKETS, "denoised_stack", "update"])
@pytest.mark.parametrize("first", [nchw, channels_last])
@pytest.mark.parametrize("second", [nchw, channels_last])
def test_each_tensor_has_its_own_format(op, first, second):
    def make():
        given = arguments(op, (2, 3, 6, 10), torch.float32, channels_last)
        if op == "update":
            return (*(first(t) for t in given[:2]), *(second(t) for t in given[2:4]), given[4])
        return (first(given[0]), second(given[1]), *given[2:])

    compare(op, make)


@pytest.mark.parametrize("op", [*BRACKETS, "denoised_stack"])
def test_stride_zero_inputs_and_one_row_of_coefficients(op):
    def make():
        raw, x, *rest = arguments(op, (2, 3, 6, 10), torch.float32, nchw)
        rest = [t[:1].expand_as(t) if isinstance(t, torch.Tensor) else t for t in rest]
        place = next(i for i, t in enumerate(rest) if getattr(t, "ndim", 0) == 2)
        rest[place] = rest[place][:1]
        return raw[:1, :, :1].expand_as(raw), x[:, :1, :, :1].expand_as(x), *rest

    compare(op, make)


@pytest.mark.parametrize("op", list(ARGUMENTS))
def test_operators_are_declared_as_they_behave(op):
    given = arguments(op, (2, 3, 4, 6), torch.float32, channels_last)
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(triton_op(op), given, test_utils=checks)


@pytest.mark.parametrize("shape", [(1, 1, 6, 7), (2, 1, 6, 7), (1, 3, 6, 7), (1, 1, 6, 1)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32], ids=str)
def test_masks(shape, dtype):
    """Every number but 0 says observed, and y is not read elsewhere."""
    mask = (torch.rand(shape, device=DEVICE) * 3 * (randn(shape) > 0)).to(dtype)
    y = torch.where(mask.bool(), randn(2, 3, 6, 7), float("nan"))
    given = randn(2, 3, 6, 7), randn(2, 3, 6, 7), y, mask, rows(2)
    found, _ = compare("mask_bracket", lambda: given)
    assert all(t.isfinite().all() for t in found)


@pytest.mark.parametrize(("factor", "largest"), [(1, 4096), (4, 4096), (5, 4096), (3, 8), (4, 8)])
@pytest.mark.parametrize("place", [nchw, channels_last])
def test_factors(factor, largest, place, setting):
    """Where `largest` is 8, blocks of 3 and 4 are too large to be held at once."""
    setting("block_mean_bracket", largest_tile=largest, block=64)
    raw, x = (place(randn(1, 5, 2 * factor, 3 * factor)) for _ in range(2))
    given = raw, x, randn(1, 5, 2, 3), factor, rows(1)
    compare("block_mean_bracket", lambda: given)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("place", [nchw, channels_last])
def test_colorization_of_other_channel_counts(channels, place):
    given = arguments("colorization_bracket", (2, channels, 5, 6), torch.float32, place)
    compare("colorization_bracket", lambda: given)


@pytest.mark.parametrize("kind", [torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 1, 1), (1, 3, 5, 1), (2, 3, 5, 7)])
def test_spectral_data_broadcasts(kind, prior, shape):
    z = randn(2 if prior else 1, 2, 3, 7, 5, dtype=kind).transpose(-1, -2)
    target = randn(1, 1, 5, 7, dtype=kind)
    target = target.conj() if kind.is_complex else target
    s = torch.where(randn(shape) > 0, randn(shape), 0)
    beta = randn(2, 1, 5, 7) if prior else None
    compare("spectral_filter", lambda: (z, target, s, randn(shape).fill_(0.7), beta))


@pytest.mark.parametrize(
    ("log_length", "largest"), [(0, 4), (1, 4), (3, 4), (5, 4), (7, 64), (10, 64)]
)
def test_transform_lengths(log_length, largest, setting):
    """One, two and three passes, in tiles of 16 or more elements."""
    setting("fwht", largest_pass=largest, block=16, columns=8)
    x = randn(1 << log_length, 3).transpose(0, 1)
    (found,), _ = compare("fwht", lambda: (x,))
    assert_agrees((triton_op("fwht")(found),), (x,))


@pytest.mark.parametrize("elements", [1, 3, 4, 5, 1025])
@pytest.mark.parametrize("draw", [0, 7, 2**32 + 7, 2**63 - 1])
def test_integers_are_bit_identical(elements, draw):
    seed = torch.tensor([0, 1, -1, 2**40 + 3, -(2**63)], device=DEVICE)
    sample = torch.tensor([0, 2**31, 2**32 - 1, -5, 2**63 - 1], device=DEVICE)
    count = torch.tensor([draw], device=DEVICE)
    found = triton_op("philox_words")(elements, seed, sample, count)
    assert torch.equal(found, OPS["philox_words"].reference(elements, seed, sample, count))


def test_noise_depends_on_neither_format_nor_batch():
    given = arguments("transition", (3, 3, 19, 37), torch.float32, nchw)
    together = triton_op("transition")(*given)
    apart = triton_op("transition")(channels_last(given[0]), *given[1:])
    assert torch.equal(together, apart)
    alone = triton_op("transition")(*(t[1:2] for t in given[:4]), given[4])
    assert torch.equal(together[1:2], alone)


NORM_SHAPES = [
    (1, 9, 5, 11, 3),  # the last number is that of groups: 3 channels to a group
    (1, 20, 4, 6, 2),  # 10 channels to a group
    (1, 5, 9, 9, 5),  # one channel to a group
    (1, 6, 3, 3, 1),  # one group
]


@pytest.mark.parametrize("shape", NORM_SHAPES, ids=str)
@pytest.mark.parametrize("place", [nchw, channels_last])
@pytest.mark.parametrize("largest_whole", [8192, 0])
def test_norms_in_one_tile_and_in_slabs(shape, place, largest_whole, setting):
    setting("group_norm_silu", largest_whole=largest_whole, block=128, most_slabs=3, channels=16)
    *sizes, groups = shape
    x, gradient = (place(randn(sizes)) for _ in range(2))
    weight, bias = randn(2, sizes[1]).unbind(0)
    scale = randn(sizes[0], 2 * sizes[1])[:, ::2]
    factors = (groups, weight, bias, 1e-5, scale, None, True)
    _, (_, mean, rstd) = compare("group_norm_silu_forward", lambda: (x, *factors))
    for given in (gradient, gradient[:, :1, :1, :1].expand_as(x)):
        backward = (given, x, mean, rstd, groups, weight, bias, scale, None, True)
        compare("group_norm_silu_backward", lambda given=backward: given)


@pytest.mark.parametrize("activation", [False, True])
@pytest.mark.parametrize("film", ["none", "shift", "both, for all samples"])
def test_norm_variants(activation, film):
    x = randn(2, 6, 4, 5)
    weight, bias, scale, shift = randn(4, 6).unbind(0)
    scale, shift = scale.expand(2, 6), shift.expand(2, 6)
    table = {"none": (None, None), "shift": (None, shift)}.get(film, (scale, shift))
    given = (x, 2, weight, bias, 1e-5, *table, activation)
    compare("group_norm_silu_forward", lambda: given)


@pytest.mark.parametrize("largest_whole", [8192, 0])
def test_statistics_far_from_zero(largest_whole, setting):
    """A mean of 3000 standard deviations: sums of squares would lose all digits of the variance."""
    setting("group_norm_silu", largest_whole=largest_whole, block=128, most_slabs=3)
    given = (3000 + randn(1, 4, 9, 9), 2, *randn(2, 4).unbind(0), 1e-5, None, None, True)
    compare_to_float64("group_norm_silu_forward", lambda: given)


@pytest.mark.parametrize("largest_whole", [8192, 0])
def test_norm_gradient_against_finite_differences(largest_whole, setting):
    setting("group_norm_silu", largest_whole=largest_whole, block=4, most_slabs=2)
    norm = resolve("group_norm_silu", "triton", DEVICE, torch.float64)
    weight, bias, scale, shift = randn(4, 2, dtype=torch.float64).unbind(0)
    film = (scale[None], shift[None])
    x = randn(1, 2, 3, 1, dtype=torch.float64)

    def function(x):
        return norm(x, 1, weight, bias, 1e-5, *film)

    assert torch.autograd.gradcheck(function, x.clone().requires_grad_(), fast_mode=True)
    value, vjp = torch.func.vjp(function, x)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf, torch.ones_like(value))
    assert torch.equal(vjp(torch.ones_like(value))[0], gradient)


@pytest.mark.parametrize("with_prior", [False, True])
def test_composed_brackets(with_prior):
    """Transforms of torch between kernels: the formats must fit."""
    raw, x = channels_last(randn(2, 3, 8, 4).bfloat16()), randn(2, 3, 8, 4)
    s, alpha = torch.rand(1, 1, 8, 4, device=DEVICE), rows(2, 1).view(2, 1, 1, 1)
    beta = randn(2, 1, 8, 4) if with_prior else None
    target, table = randn(2, 3, 8, 4), rows(2)
    compare("walsh_hadamard_bracket", lambda: (raw, x, target, s, alpha, beta, table))
    half = None if beta is None else beta[..., :3]
    phase = torch.fft.rfft2(target)
    compare("spectral_bracket", lambda: (raw, x, phase, s[..., :3], alpha, half, table))
    given = (raw, x, target, s, alpha, beta, randn(8, 8), randn(4, 4), table)
    compare("separable_bracket", lambda: given)


def replaced(op, place, wrong):
    given = list(arguments(op, (2, 3, 4, 6), torch.float32, nchw))
    given[place] = wrong
    return given


IMAGE = (2, 3, 4, 6)
WRONG = [
    *((op, 0, torch.zeros(IMAGE, dtype=torch.int64)) for op in BRACKETS),
    *((op, 1, torch.zeros(IMAGE, dtype=torch.float64)) for op in BRACKETS),
    *((op, 2, torch.zeros(2, 3, 4)) for op in BRACKETS),
    *((op, -1, torch.zeros(3, 5)) for op in BRACKETS),
    ("mask_bracket", 3, torch.zeros(3, 1, 4, 6)),
    ("mask_bracket", 3, torch.zeros(1, 1, 4, 6, dtype=torch.int64)),
    ("block_mean_bracket", 3, 5),
    ("block_mean_bracket", 3, 0),
    ("denoised_stack", 2, torch.zeros(2, 4)),
    ("spectral_filter", 0, torch.zeros(1, 2, 3, 4, 6, dtype=torch.complex64)),
    ("spectral_filter", 1, torch.zeros(IMAGE)),
    ("spectral_filter", 2, torch.zeros(1, 3, 4, 5)),
    ("update", 0, torch.zeros(1, 1, 1, 1).expand(IMAGE)),
    ("update", 3, torch.zeros(2, 3, 4, 7)),
    ("update", 4, torch.zeros(2, 5)),
    ("transition", 1, torch.zeros(3)),
    ("transition", 2, torch.zeros(2)),
    ("transition", 4, torch.zeros(2, dtype=torch.int64)),
    ("philox_words", 0, 0),
    ("fwht", 0, torch.zeros(2, 6)),
    ("fwht", 0, torch.zeros(2, 4, dtype=torch.float64)),
    ("group_norm_silu_forward", 1, 2),
    ("group_norm_silu_forward", 2, torch.zeros(4)),
    ("group_norm_silu_forward", 5, torch.zeros(2, 4)),
    ("group_norm_silu_forward", 6, torch.zeros(1, 3)),
    ("group_norm_silu_backward", 0, torch.zeros(2, 3, 4)),
    ("group_norm_silu_backward", 2, torch.zeros(2, 1, dtype=torch.float64)),
]


@pytest.mark.parametrize(("op", "place", "wrong"), WRONG)
def test_wrong_arguments_are_refused(op, place, wrong):
    wrong = wrong.to(DEVICE) if isinstance(wrong, torch.Tensor) and wrong.stride()[0] else wrong
    with pytest.raises(InputError):
        triton_op(op)(*replaced(op, place, wrong))


@pytest.fixture
def setting(monkeypatch):
    """Other launch settings for one test: small images then need many programs."""
    from vml_fast.kernels.settings import table

    def change(op, **values):
        row = {**table()["ops"][op][-1], **values}
        monkeypatch.setitem(table()["ops"], op, [row])

    return change
