"""The fixture behind every op's benchmark: gate, rotation, timing, and what the record says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.cases import Case
from benchmarks.data import CopyBandwidth, RandomData
from benchmarks.gate import Call, Work, check, nbytes
from benchmarks.machine import DEVICE, machine_record
from benchmarks.timing import MOST_ROUNDS, Rotation, how_many, seconds_of
from vml_fast.ops import OPS, resolve
from vml_fast.ops.fastest import describe

MakeWork = Callable[[Case, RandomData], Work]


def rotation(
    call: Call, make: Callable[[], Work], data: RandomData, *, timed: bool = True
) -> Rotation:
    """`call` on as many sets of operands as cover twice the cache; two where nothing is timed."""
    first = make()
    returned = call(*first.arguments)
    size = nbytes(first.arguments) + nbytes(returned)
    seconds = seconds_of(lambda: call(*first.arguments)) if timed else 0.0
    count = how_many(data.covered, size, seconds) if timed else 2
    sets = [first, *(make() for _ in range(count - 1))]
    return Rotation(lambda i: call(*sets[i].arguments), count)


class OpBenchmark:
    """Times one op on one backend and one case."""

    def __init__(
        self, benchmark: Any, backend: str, case: Case, data: RandomData, copy: CopyBandwidth
    ) -> None:
        self.benchmark = benchmark
        self.backend = backend
        self.case = case
        self.data = data
        self.copy = copy

    def __call__(
        self, op: str, make: MakeWork, *, wrap: Callable[[Call], Call] = lambda call: call
    ) -> None:
        """Check the op against its reference, then time it.

        Args:
            op: a key of the registry; also the group of the record.
            make: one set of operands.
            wrap: makes the function to be timed from an implementation, by default itself.
        """
        self.benchmark.group = op
        call = wrap(resolve(op, self.backend, DEVICE))
        work = make(self.case, self.data)
        if self.backend != "reference":
            check(call, wrap(resolve(op, "reference", DEVICE)), work)
        moved = work.moved
        if moved is None:
            moved = nbytes(work.arguments) + nbytes(call(*work.arguments))
        timed = self.benchmark.enabled
        turns = rotation(call, lambda: make(self.case, self.data), self.data, timed=timed)
        time_rotation(self.benchmark, turns)
        self.benchmark.extra_info.update(machine_record(), bytes=moved, sets=turns.count)
        if (position := OPS[op].image) is not None:
            about = describe(work.arguments[position])
            names = ("dtype", "memory_format", "elements")
            self.benchmark.extra_info["image"] = dict(zip(names, about, strict=True))
        if timed:
            self._rates(moved, work.flops)

    def _rates(self, moved: int, flops: int) -> None:
        info = self.benchmark.extra_info
        median = self.benchmark.stats.stats.median
        info["gigabytes_per_second"] = moved / median / 1e9
        info["copy_gigabytes_per_second"] = self.copy.median / 1e9
        info["share_of_copy_bandwidth"] = moved / median / self.copy.median
        if flops:
            info["flops"] = flops
            info["gigaflops_per_second"] = flops / median / 1e9


def time_rotation(
    benchmark: Any,
    turns: Rotation,
    *,
    most_rounds: int = MOST_ROUNDS,
    after_round: Callable[[], Any] | None = None,
) -> None:
    """Let pytest-benchmark time a rotation; `after_round` is run between rounds."""
    rounds, calls = turns.plan() if benchmark.enabled else (1, 1)
    benchmark.pedantic(
        turns, rounds=min(rounds, most_rounds), iterations=calls, teardown=after_round
    )
