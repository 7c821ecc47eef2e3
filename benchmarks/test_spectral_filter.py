"""The point-wise middle of a transform's bracket, on the half spectrum of a real FFT."""

import pytest
import torch

from benchmarks.cases import Case
from benchmarks.data import RandomData
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark
from benchmarks.machine import DEVICE


def work(case: Case, data: RandomData) -> Work:
    """Operands of one call; the singular values belong to one kernel for all samples."""
    half = case.size // 2 + 1
    shape = (case.batch, 3, case.size, half, 2)
    z = torch.view_as_complex(data.normal((2, *shape)))
    target = torch.view_as_complex(data.normal(shape))
    s, alpha, beta = (torch.rand(1, 1, case.size, half, device=DEVICE) for _ in range(3))
    return Work((z, target, s, alpha, beta))


@pytest.mark.planar
def test_spectral_filter(op_benchmark: OpBenchmark) -> None:
    op_benchmark("spectral_filter", work)
