"""Whole solves with every backend that runs here, against the reference's: C++, CUDA and Triton."""

from __future__ import annotations

import pytest
import torch

import vml_fast as vf
from tests.ops.helpers import DEVICES, INTERPRETED, kernels
from tests.runtime.networks import small_denoiser
from vml_fast.operators.tasks import TASKS, task

SHAPE = (3, 16, 16)

pytestmark = pytest.mark.skipif(INTERPRETED, reason="the interpreter takes minutes for a solve")


@kernels
@pytest.mark.parametrize("noise_std", [0.0, 0.05])
@pytest.mark.parametrize("name", [name for name in TASKS if name != "inpaint"])
def test_a_solve_is_that_of_the_reference(name: str, noise_std: float, backend: str) -> None:
    """Few steps: roundings grow from one to the next."""
    device = DEVICES[backend]
    H = task(name, SHAPE)
    y = H(torch.rand(2, *SHAPE, device=device) * 2 - 1)
    denoiser = small_denoiser(SHAPE).to(device)
    settings = {"steps": 4, "inner_steps": 3, "noise_std": noise_std}
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        images = [
            vf.VMLMAP(denoiser, H, backend=choice, **settings).solve(y).image
            for choice in (backend, "reference")
        ]
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-4)
