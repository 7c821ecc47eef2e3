"""What stands behind a number: the gate, the rotation, the operands."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from benchmarks.cases import Case, cases, every_format, of_the_state, planar
from benchmarks.claims import Claim
from benchmarks.data import RandomData
from benchmarks.gate import Work, check, nbytes
from benchmarks.machine import cache_bytes, machine_tag
from benchmarks.timing import (
    FEWEST_ROUNDS,
    MOST_ROUNDS,
    MOST_SETS,
    SWEEP_SECONDS,
    Rotation,
    how_many,
)

CASE = Case(8, 2, "bfloat16", "channels_last")


def double(x: Tensor) -> Tensor:
    return 2 * x


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gate_lets_the_same_function_through(dtype: torch.dtype) -> None:
    check(lambda x: x + x, double, Work((torch.randn(5).to(dtype),)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: 2.05 * x,
        lambda x: torch.where(x == x.max(), x + math.nan, 2 * x),
        lambda x: (2 * x).double(),
        lambda x: (2 * x)[:-1],
        lambda x: (2 * x, x),
    ],
    ids=["value", "nan", "dtype", "shape", "count"],
)
def test_the_gate_stops_a_wrong_op(dtype: torch.dtype, wrong: object) -> None:
    with pytest.raises(AssertionError):
        check(wrong, double, Work((torch.randn(5).to(dtype),)))


def test_the_gate_compares_what_is_overwritten() -> None:
    def add_one(x: Tensor) -> None:
        x += 1

    def add_two(x: Tensor) -> None:
        x += 2

    work = Work((torch.zeros(3),), overwritten=(0,))
    check(add_one, add_one, work)
    with pytest.raises(AssertionError):
        check(add_two, add_one, work)
    assert (work.arguments[0] == 0).all()  # it works on copies


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU turns are captured, not called")
def test_a_rotation_goes_round_and_keeps_each_result() -> None:
    turns: list[int] = []
    rotation = Rotation(lambda i: turns.append(i) or len(turns), 3)
    assert turns == [0, 1, 2]  # the warm-up touches every set
    for _ in range(4):
        rotation()
    assert turns[3:] == [0, 1, 2, 0]
    assert rotation.kept == [7, 5, 6]
    rounds, calls = rotation.plan()
    assert FEWEST_ROUNDS <= rounds <= MOST_ROUNDS and calls >= 1


def test_sets_cover_the_cache_unless_that_takes_too_long() -> None:
    assert how_many(1000, 100, 1e-6) == 10
    assert how_many(1000, 10**6, 1e-6) == 2
    assert how_many(10**9, 10, 1e-6) == MOST_SETS
    assert how_many(10**9, 1, 0.01) == int(SWEEP_SECONDS / 0.01)


def test_operands_of_a_set_share_no_memory() -> None:
    data = RandomData(covered=2**16)
    given = [data.image(CASE), data.image(CASE), data.network(CASE), data.network(CASE)]
    spans = sorted((t.data_ptr(), t.data_ptr() + nbytes(t)) for t in given)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert all(t.shape == CASE.shape for t in given)
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in given)
    assert given[2].dtype == torch.bfloat16
    assert 0.8 < given[0].std() < 1.2


def test_operands_larger_than_the_block_enlarge_it() -> None:
    data = RandomData(covered=64)
    large = Case(64, 2, "float32", "nchw")
    assert data.image(CASE).shape == CASE.shape
    assert data.image(large).shape == large.shape


def test_cases() -> None:
    assert len(cases("full", "cpu")) == 36
    assert {case.size for case in cases("default", "cpu")} == {16, 64, 256, 1024}
    assert {case.dtype for case in of_the_state(cases("default", "cuda"))} == {"float32"}
    assert len(planar(cases("tiny", "cpu"))) == 1
    assert len(every_format(cases("tiny", "cpu"))) == 4


@pytest.mark.parametrize(
    ("bound", "value", "met"),
    [("at least", 2.0, True), ("at least", 1.9, False), ("at most", 2.1, False)],
)
def test_promises(bound: str, value: float, met: bool) -> None:
    assert Claim("", value, bound, 2.0).met is met


def test_the_machine_has_a_name_for_files_and_a_cache() -> None:
    assert f"torch-{torch.__version__.partition('+')[0]}" in machine_tag()
    assert set(machine_tag()) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert cache_bytes() >= 2**20
