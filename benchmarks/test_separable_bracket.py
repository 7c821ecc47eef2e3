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
def basis(size: int, rank: int | None = None) -> Tensor:
    """Orthonormal columns in the place of V, by default all."""
    return torch.linalg.qr(torch.randn(size, size, device=DEVICE)).Q[:, :rank].contiguous()


def work(case: Case, data: RandomData, *, prior: bool = False, factor: int = 1) -> Work:
    """Operands of one call; with measurement noise the prior term needs a transform too.

    Args:
        case: which images.
        data: where they come from.
        prior: whether there is a prior term.
        factor: of super-resolution, whose V leaves out the null space; 1 for a blur.
    """
    size, rank = case.size, case.size // factor
    s, alpha, beta = (torch.rand(1, 1, rank, rank, device=DEVICE) for _ in range(3))
    arguments = (
        data.network(case),
        data.image(case),
        data.normal((*case.shape[:2], rank, rank)),
        s,
        alpha,
        beta if prior else None,
        basis(size, rank),
        basis(size, rank),
        coefficients(case.batch, prior=prior),
    )
    there_and_back = (2 if prior else 1) + 1
    multiplications = size * size * rank + size * rank * rank
    return Work(arguments, flops=there_and_back * 2 * 3 * case.batch * multiplications)


def test_separable_bracket(op_benchmark: OpBenchmark) -> None:
    op_benchmark("separable_bracket", work)
