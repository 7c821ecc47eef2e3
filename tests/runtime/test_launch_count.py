"""The rule of the hot path, counted by a profiler: an inner step is the network and two kernels."""

from __future__ import annotations

import pytest
import torch

from benchmarks.launches import IMAGE_SHAPE, besides_network, launched, make_runner
from vml_fast.operators.tasks import task
from vml_fast.ops import availability

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="counts the operations of the CPU"),
    pytest.mark.skipif(
        availability("cpu")["cpp"] is not None, reason="the C++ library is not available"
    ),
]

FUSED = {
    "random70": "mask_bracket",
    "half": "mask_bracket",
    "denoise": "mask_bracket",
    "sr2": "block_mean_bracket",
    "sr4": "block_mean_bracket",
    "colorize": "colorization_bracket",
    "deblur-motion": "spectral_bracket",
    "deblur-gauss": "separable_bracket",
    "sr4-bicubic": "separable_bracket",
    "walsh-hadamard": "walsh_hadamard_bracket",
}


@pytest.mark.parametrize("noise_std", [0.0, 0.05])
@pytest.mark.parametrize("name", FUSED)
def test_an_inner_step_is_the_network_and_two_kernels(name: str, noise_std: float) -> None:
    """Nothing else computes, copies or allocates, noiseless or noisy."""
    runner = make_runner(task(name, IMAGE_SHAPE), noise_std=noise_std, backend="cpp")
    assert launched(runner.inner_step) == [
        "aten::tanh",  # the network's forward
        f"vml_fast::{FUSED[name]}",
        "aten::tanh_backward",  # its vector-Jacobian product
        "vml_fast::update",
    ]


def test_the_count_sees_what_is_not_fused() -> None:
    """Plain PyTorch takes many operations for the same step, and an added one is noticed."""
    runner = make_runner(task("random70", IMAGE_SHAPE), noise_std=0.0, backend="reference")
    assert besides_network(launched(runner.inner_step)) > 10
    fused = make_runner(task("random70", IMAGE_SHAPE), noise_std=0.0, backend="cpp")

    def wasteful() -> None:
        fused.inner_step()
        fused.x.clone()

    assert launched(wasteful)[-1] == "aten::clone"
