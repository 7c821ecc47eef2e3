"""The bracket of colorization: two images and a gray one in, two images out."""

from benchmarks.cases import Case
from benchmarks.data import RandomData, coefficients
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark


def work(case: Case, data: RandomData) -> Work:
    """Operands of one call."""
    gray = data.image(case, channels=1)
    return Work((data.network(case), data.image(case), gray, coefficients(case.batch)))


def test_colorization_bracket(op_benchmark: OpBenchmark) -> None:
    op_benchmark("colorization_bracket", work)
