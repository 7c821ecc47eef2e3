"""A thousand solves in one process: memory, threads, files and compiled code stay as they are."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

import vml_fast as vf
from tests.runtime.fake_graph import fake_graphs
from tests.runtime.networks import SHAPE, small_denoiser
from vml_fast.operators import Inpainting
from vml_fast.runtime import compiled, runners

SOLVES = 1000
WARM = 100
LEEWAY = 16 * 2**20
"""Bytes by which the allocator may come and go; a leak of one image per solve is below it, one of
an activation, a runner or a guard per solve is not."""


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def handles() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), threading.active_count()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["eager", "compiled", "recorded"])
def test_a_thousand_solves(kind: str) -> None:
    """Other masks, labels, noise levels and seeds each time; solvers come and go."""
    if kind == "compiled" and compiled.obstacle(torch.device("cpu"), "vjp"):
        pytest.skip("no C++ compiler")
    denoiser = small_denoiser()
    settings = {"compile": kind == "compiled", "cuda_graph": kind == "recorded"}
    generator = torch.Generator().manual_seed(0)

    def solve(seed: int) -> None:
        mask = (torch.rand(SHAPE, generator=generator) < 0.5).float()
        mask[..., 0] = 1
        H = Inpainting(SHAPE, mask)
        solver = vf.VMLMAP(
            denoiser, H, steps=3, inner_steps=2, noise_std=0.01 + seed / SOLVES, **settings
        )
        y = H(torch.randn(2, *SHAPE, generator=generator))
        solver.solve(y, seed=seed, condition={"labels": torch.tensor([seed % 4, 0])})

    runners.recorded.clear()
    with fake_graphs():
        for seed in range(WARM):
            solve(seed)
        gc.collect()
        before, held, graphs = resident(), handles(), counters["stats"]["unique_graphs"]
        for seed in range(WARM, SOLVES):
            solve(seed)
        gc.collect()
    assert resident() - before < LEEWAY
    assert handles() == held
    assert counters["stats"]["unique_graphs"] == graphs
    assert len(runners.recorded) <= 1
    runners.recorded.clear()
