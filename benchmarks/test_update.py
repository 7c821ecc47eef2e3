"""The second kernel of an inner step: state, bracket and gradient in, state and input out."""

from benchmarks.cases import Case
from benchmarks.data import RandomData, coefficients
from benchmarks.gate import Work, nbytes
from benchmarks.harness import OpBenchmark


def work(case: Case, data: RandomData) -> Work:
    """Operands of one call; x and u are copies, since they are overwritten."""
    x, v, gradient = data.image(case).clone(), data.image(case), data.network(case)
    u = gradient.clone()
    moved = nbytes((x, v, gradient)) + nbytes((x, u))
    arguments = (x, v, gradient, u, coefficients(case.batch, columns=2))
    return Work(arguments, overwritten=(0, 3), moved=moved)


def test_update(op_benchmark: OpBenchmark) -> None:
    op_benchmark("update", work)
