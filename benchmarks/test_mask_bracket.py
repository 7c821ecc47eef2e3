"""The inpainting bracket: three images in, two out, one mask that the samples share."""

import torch

from benchmarks.cases import Case
from benchmarks.data import RandomData, coefficients
from benchmarks.gate import Work
from benchmarks.harness import OpBenchmark
from benchmarks.machine import DEVICE


def work(case: Case, data: RandomData) -> Work:
    """Operands of one call."""
    mask = torch.rand(1, 1, case.size, case.size, device=DEVICE) > 0.5
    images = data.network(case), data.image(case), data.image(case)
    return Work((*images, mask, coefficients(case.batch)))


def test_mask_bracket(op_benchmark: OpBenchmark) -> None:
    op_benchmark("mask_bracket", work)
