"""GroupNorm + scale-shift + SiLU: forward, gradient to the input, and both as a network runs them.

Feature maps have a quarter of the image's height and width, and 128 channels in 32 groups.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.data import RandomData
from benchmarks.gate import Call, Work
from benchmarks.harness import OpBenchmark
from benchmarks.machine import DEVICE

CHANNELS, GROUPS, EPS = 128, 32, 1e-5


def features(case: Case, data: RandomData) -> Tensor:
    """A feature map in the network's dtype."""
    side = case.size // 4
    return data.images((case.batch, CHANNELS, side, side), case, case.network_dtype)


def factors(case: Case, *, film: bool) -> tuple[Tensor | None, ...]:
    """weight, bias, scale and shift."""
    dtype = case.network_dtype
    weight, bias = (torch.randn(CHANNELS, device=DEVICE).to(dtype) for _ in range(2))
    if not film:
        return weight, bias, None, None
    scale, shift = torch.randn(case.batch, 2 * CHANNELS, device=DEVICE).to(dtype).chunk(2, dim=1)
    return weight, bias, scale, shift


def forward_work(case: Case, data: RandomData, *, film: bool = True) -> Work:
    """Operands of one call of the forward op."""
    weight, bias, scale, shift = factors(case, film=film)
    return Work((features(case, data), GROUPS, weight, bias, EPS, scale, shift, True))


def backward_work(case: Case, data: RandomData) -> Work:
    """Operands of one call of the backward op, with the statistics of its input."""
    weight, bias, scale, shift = factors(case, film=True)
    x, gradient = features(case, data), features(case, data)
    grouped = x.float().unflatten(1, (GROUPS, -1))
    variance, mean = torch.var_mean(grouped, (2, 3, 4), correction=0)
    rstd = torch.rsqrt(variance + EPS)
    return Work((gradient, x, mean, rstd, GROUPS, weight, bias, scale, shift, True))


def both_work(case: Case, data: RandomData, *, film: bool = True) -> Work:
    """Operands of one forward and the gradient to its input."""
    forward = forward_work(case, data, film=film)
    return Work((*forward.arguments, features(case, data)))


def both(op: Call) -> Callable[..., tuple[Tensor, Tensor]]:
    """The forward and the gradient to x, as in a denoiser with frozen weights."""

    def run(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        *settings, gradient = rest
        leaf = x.detach().requires_grad_(True)
        with torch.enable_grad():
            out = op(leaf, *settings)
        (dx,) = torch.autograd.grad(out, leaf, gradient)
        return out.detach(), dx

    return run


def test_group_norm_silu_forward(op_benchmark: OpBenchmark) -> None:
    op_benchmark("group_norm_silu_forward", forward_work)


def test_group_norm_silu_backward(op_benchmark: OpBenchmark) -> None:
    op_benchmark("group_norm_silu_backward", backward_work)


@pytest.mark.every_format
def test_group_norm_silu(op_benchmark: OpBenchmark) -> None:
    op_benchmark("group_norm_silu", both_work, wrap=both)
