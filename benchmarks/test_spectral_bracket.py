"""The bracket of circular blur without noise: one real FFT of D and one back."""

import math

import torch

from benchmarks.cases import Case
from benchmarks.data import RandomData, coefficients
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark
from benchmarks.machine import DEVICE


def work(case: Case, data: RandomData, *, prior: bool = False) -> Work:
    """Operands of one call; with measurement noise the prior term needs a transform too."""
    half = case.size // 2 + 1
    target = torch.view_as_complex(data.normal((case.batch, 3, case.size, half, 2)))
    s, alpha, beta = (torch.rand(1, 1, case.size, half, device=DEVICE) for _ in range(3))
    arguments = (
        data.network(case),
        data.image(case),
        target,
        s,
        alpha,
        beta if prior else None,
        coefficients(case.batch, prior=prior),
    )
    pixels = case.size**2
    transforms = (3 if prior else 2) * 3 * case.batch
    return Work(arguments, flops=round(transforms * 2.5 * pixels * math.log2(pixels)))


def test_spectral_bracket(op_benchmark: OpBenchmark) -> None:
    op_benchmark("spectral_bracket", work)
