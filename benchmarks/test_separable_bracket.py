"""The bracket of separable blur without noise: two matrix products of D and two back."""

import functools

import torch
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.data import RandomData, coefficients
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark
from benchmarks.machine import DEVICE


@functools.cache
def basis(size: int) -> Tensor:
    """An orthogonal matrix in the place of V."""
    return torch.linalg.qr(torch.randn(size, size, device=DEVICE)).Q.contiguous()


def work(case: Case, data: RandomData, *, prior: bool = False) -> Work:
    """Operands of one call; with measurement noise the prior term needs a transform too."""
    size = case.size
    s, alpha, beta = (torch.rand(1, 1, size, size, device=DEVICE) for _ in range(3))
    arguments = (
        data.network(case),
        data.image(case),
        data.normal(case.shape),
        s,
        alpha,
        beta if prior else None,
        basis(size),
        basis(size),
        coefficients(case.batch),
    )
    products = (3 if prior else 2) * 2 * 3 * case.batch
    return Work(arguments, flops=products * 2 * size**3)


def test_separable_bracket(op_benchmark: OpBenchmark) -> None:
    op_benchmark("separable_bracket", work)
