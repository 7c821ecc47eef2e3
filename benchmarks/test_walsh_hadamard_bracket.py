"""The bracket of Walsh-Hadamard sensing without noise: one fast transform of D and one back."""

import math

import torch

from benchmarks.cases import Case
from benchmarks.data import RandomData, coefficients
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark
from benchmarks.machine import DEVICE


def work(case: Case, data: RandomData, *, prior: bool = False) -> Work:
    """Operands of one call; with measurement noise the prior term needs a transform too."""
    selected = torch.rand(1, 1, case.size, case.size, device=DEVICE) > 0.75
    alpha, beta = (torch.rand(case.batch, 1, 1, 1, device=DEVICE) for _ in range(2))
    arguments = (
        data.network(case),
        data.image(case),
        data.normal(case.shape),
        selected.float(),
        alpha,
        beta if prior else None,
        coefficients(case.batch, prior=prior),
    )
    additions = 3 * case.batch * case.size**2 * round(math.log2(case.size**2))
    return Work(arguments, flops=(3 if prior else 2) * additions)


def test_walsh_hadamard_bracket(op_benchmark: OpBenchmark) -> None:
    op_benchmark("walsh_hadamard_bracket", work)
