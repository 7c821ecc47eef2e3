"""Arguments for every op that has kernels, for the agreement and the compiler checks.

An op without an entry in `ARGUMENTS` fails the test that walks the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.ops.helpers import DEVICE, random_coefficients

Place = Callable[[Tensor], Tensor]
Arguments = tuple[Any, ...]
Make = Callable[[tuple[int, ...], torch.dtype, Place], Arguments]

STATE = torch.float32


def _network(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Tensor:
    return place(torch.randn(shape).to(dtype))


def _state(shape: tuple[int, ...], place: Place) -> Tensor:
    return place(torch.randn(shape))


def _mask(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    b, _, h, w = shape
    images = (_network(shape, dtype, place), _state(shape, place), _state(shape, place))
    return *images, torch.rand(1, 1, h, w) > 0.5, random_coefficients(b)


def _block_mean(
    shape: tuple[int, ...], dtype: torch.dtype, place: Place, factor: int = 2
) -> Arguments:
    """Images of factor times the height and width, so that every shape can be reduced."""
    b, c, h, w = shape
    large = (b, c, factor * h, factor * w)
    images = (_network(large, dtype, place), _state(large, place), _state(shape, place))
    return *images, factor, random_coefficients(b)


def _colorization(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    b, _, h, w = shape
    images = (_network(shape, dtype, place), _state(shape, place), _state((b, 1, h, w), place))
    return *images, random_coefficients(b)


def _general(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    images = (_network(shape, dtype, place), _state(shape, place), _state(shape, place))
    return *images, random_coefficients(shape[0])


def _stack(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    images = (_network(shape, dtype, place), _state(shape, place))
    return *images, random_coefficients(shape[0]), True


def _filter(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    """Complex where the network is float32, real else: the op itself never sees the network."""
    b, c, h, w = shape
    kind = torch.complex64 if dtype == STATE else STATE
    z = torch.stack([torch.randn(shape, dtype=kind) for _ in range(2)])
    target = place(torch.randn(shape, dtype=kind))
    s = torch.rand(1, c, h, w) * (torch.rand(1, c, h, w) > 0.3)
    return z, target, s, torch.rand(b, 1, 1, 1), torch.rand(b, 1, h, w)


def _update(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    state, network = (_state(shape, place) for _ in range(2)), _network(shape, dtype, place)
    return *state, network, torch.empty_like(network), random_coefficients(shape[0], columns=2)


def _transition(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    b = shape[0]
    seed, sample = torch.randint(-(2**63), 2**63 - 1, (2, b)).unbind(0)
    return _state(shape, place), torch.rand(b), seed, sample, torch.tensor([3])


def _words(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    elements = shape[1] * shape[2] * shape[3]
    return elements, *_transition(shape, dtype, place)[2:]


def _fwht(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    b, c, h, w = shape
    return (torch.randn(b, c, 1 << (h * w).bit_length()),)


def _norm_factors(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    b, c = shape[:2]
    weight, bias = (torch.randn(c).to(dtype) for _ in range(2))
    scale, shift = torch.randn(b, 2 * c).to(dtype).chunk(2, dim=1)
    return weight, bias, scale, shift


def num_groups(channels: int) -> int:
    """32 as in most networks, else the channels of an RGB image as one group."""
    return 32 if channels % 32 == 0 else 1


def _norm(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    weight, bias, scale, shift = _norm_factors(shape, dtype)
    groups = num_groups(shape[1])
    return _network(shape, dtype, place), groups, weight, bias, 1e-5, scale, shift, True


def _norm_backward(shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    weight, bias, scale, shift = _norm_factors(shape, dtype)
    x, groups = _network(shape, dtype, place), num_groups(shape[1])
    grouped = x.to(torch.promote_types(dtype, STATE)).unflatten(1, (groups, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=0)
    rstd = torch.rsqrt(variance + 1e-5)
    gradient = _network(shape, dtype, place)
    return gradient, x, mean, rstd, groups, weight, bias, scale, shift, True


ARGUMENTS: dict[str, Make] = {
    "mask_bracket": _mask,
    "block_mean_bracket": _block_mean,
    "colorization_bracket": _colorization,
    "general_bracket": _general,
    "denoised_stack": _stack,
    "spectral_filter": _filter,
    "update": _update,
    "transition": _transition,
    "philox_words": _words,
    "fwht": _fwht,
    "group_norm_silu_forward": _norm,
    "group_norm_silu_backward": _norm_backward,
}


def arguments(op: str, shape: tuple[int, ...], dtype: torch.dtype, place: Place) -> Arguments:
    """The same numbers for the same request, so that an op that overwrites can be run twice."""
    torch.manual_seed(0)
    with torch.device(DEVICE):
        return ARGUMENTS[op](shape, dtype, place)


def outputs(op: str, call: Callable[..., Any], given: Arguments) -> tuple[Tensor, ...]:
    """What an op returns, or the arguments that it overwrites; complex numbers as two real."""
    result = call(*given)
    if op == "update":
        return given[0], given[3]
    found = result if isinstance(result, tuple) else (result,)
    return tuple(torch.view_as_real(t) if t.is_complex() else t for t in found)
