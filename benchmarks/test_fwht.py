"""The fast Walsh-Hadamard transform of every channel of every image."""

import math

import pytest

from benchmarks.cases import Case
from benchmarks.data import RandomData
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark


def work(case: Case, data: RandomData) -> Work:
    """Operands of one call."""
    n = case.size**2
    x = data.normal((case.batch, 3, n))
    return Work((x,), flops=x.numel() * round(math.log2(n)))


@pytest.mark.planar
def test_fwht(op_benchmark: OpBenchmark) -> None:
    op_benchmark("fwht", work)
