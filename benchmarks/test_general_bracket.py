"""The last pass of any other operator's bracket: three images in, two out."""

from benchmarks.cases import Case
from benchmarks.data import RandomData, coefficients
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark


def work(case: Case, data: RandomData) -> Work:
    """Operands of one call."""
    images = data.network(case), data.image(case), data.image(case)
    return Work((*images, coefficients(case.batch)))


def test_general_bracket(op_benchmark: OpBenchmark) -> None:
    op_benchmark("general_bracket", work)
