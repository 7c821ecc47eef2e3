"""The first pass of a transform's bracket: D and D - x, stacked."""

from benchmarks.cases import Case
from benchmarks.data import RandomData, coefficients
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark


def work(case: Case, data: RandomData) -> Work:
    """Operands of one call."""
    return Work((data.network(case), data.image(case), coefficients(case.batch), True))


def test_denoised_stack(op_benchmark: OpBenchmark) -> None:
    op_benchmark("denoised_stack", work)
