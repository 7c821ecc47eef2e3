"""The bracket of 4x super-resolution: two images and a small one in, two images out."""

from benchmarks.cases import Case
from benchmarks.data import RandomData, coefficients
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark

FACTOR = 4


def work(case: Case, data: RandomData) -> Work:
    """Operands of one call."""
    low = case.size // FACTOR
    y = data.images((case.batch, 3, low, low), case)
    return Work((data.network(case), data.image(case), y, FACTOR, coefficients(case.batch)))


def test_block_mean_bracket(op_benchmark: OpBenchmark) -> None:
    op_benchmark("block_mean_bracket", work)
