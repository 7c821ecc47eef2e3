"""The step to the next noise level, and the integers behind its noise."""

import pytest
import torch
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.data import RandomData
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark
from benchmarks.machine import DEVICE


def keys(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """seed, sample and draw."""
    seed = torch.full((batch,), 7, dtype=torch.int64, device=DEVICE)
    sample = torch.arange(batch, device=DEVICE)
    return seed, sample, torch.tensor([3], device=DEVICE)


def work(case: Case, data: RandomData) -> Work:
    """Operands of one call."""
    sigma = 0.2 + torch.rand(case.batch, device=DEVICE)
    return Work((data.image(case), sigma, *keys(case.batch)))


def words_work(case: Case, data: RandomData) -> Work:
    """Operands of one call; nothing but the result is worth counting."""
    return Work((3 * case.size**2, *keys(case.batch)))


@pytest.mark.state_only
def test_transition(op_benchmark: OpBenchmark) -> None:
    op_benchmark("transition", work)


@pytest.mark.planar
def test_philox_words(op_benchmark: OpBenchmark) -> None:
    op_benchmark("philox_words", words_work)
