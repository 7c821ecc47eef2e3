"""One forward and VJP of a network: accelerated in steps, each against the plain network.

The plain network is float32 in PyTorch's default memory format. Rounds of the two alternate.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import vml_fast as vf
from benchmarks.cases import chosen_set
from benchmarks.gate import relative_error
from benchmarks.machine import DEVICE, machine_record
from benchmarks.timing import seconds_of
from vml_fast.denoisers import EDMDenoiser, ScaledDenoiser

diffusers = pytest.importorskip("diffusers")

ROUNDS = 7
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
"""Relative to the largest entry."""
FORMS: dict[str, dict[str, Any]] = {
    "channels-last": {"dtype": "float32", "backend": "reference"},
    "fused": {"dtype": "float32"},
    "auto": {"dtype": "auto"},
}
"""What is added, one thing at a time: memory format and rebuilt blocks, the fused op, precision."""


def emoji64(tiny: bool) -> ScaledDenoiser:
    """The embedded prior."""
    return vf.load_denoiser("emoji64", device=DEVICE)


def guided(tiny: bool) -> ScaledDenoiser:
    """Two levels in the proportions of the field's 93 M network, on small images."""
    channels, size = (32, 16) if tiny else (128, 32)
    network = diffusers.UNet2DModel(
        sample_size=size,
        in_channels=3,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(channels, 2 * channels),
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        attention_head_dim=channels // 2,
        resnet_time_scale_shift="scale_shift",
        attn_norm_num_groups=32,
    )
    return EDMDenoiser(network.to(DEVICE), (3, size, size))


NETWORKS = {"emoji64": emoji64, "guided": guided}


@pytest.fixture(autouse=True)
def with_gradients() -> Iterator[None]:
    """What is timed here is a derivative."""
    with torch.enable_grad():
        yield


def forward_and_vjp(denoiser: ScaledDenoiser, u: Tensor, cotangent: Tensor) -> Tensor:
    """(dF/du)^T c at noise level 1, from and to float32: the casts are part of the step."""
    dtype = denoiser.network_dtype
    leaf = u.to(dtype).requires_grad_(True)
    output = denoiser.raw(leaf, torch.zeros(len(u), device=u.device))
    return torch.autograd.grad(output, leaf, cotangent.to(dtype))[0].float()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("network", NETWORKS)
def test_accelerate(
    benchmark: Any, request: pytest.FixtureRequest, network: str, batch: int, form: str
) -> None:
    plain = NETWORKS[network](chosen_set(request.config) == "tiny")
    fast = vf.accelerate(plain, **FORMS[form])
    u, cotangent = torch.randn(2, batch, *plain.image_shape, device=DEVICE).unbind(0)

    def reference() -> Tensor:
        return forward_and_vjp(plain, u, cotangent)

    # TF32 would round both results by more than they may differ
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        error = relative_error(forward_and_vjp(fast, u, cotangent), reference())
        assert error <= TOLERANCE[fast.acceleration.dtype]
        slow: list[float] = []
        benchmark.group = "accelerate"
        benchmark.pedantic(
            lambda: forward_and_vjp(fast, u, cotangent),
            rounds=ROUNDS,
            teardown=lambda: slow.append(seconds_of(reference)),
        )
    if not benchmark.enabled:
        return
    seconds, baseline = benchmark.stats.stats.median, statistics.median(slow)
    benchmark.extra_info.update(
        machine_record(),
        dtype=str(fast.acceleration.dtype).removeprefix("torch."),
        fused=fast.acceleration.fused,
        relative_error=error,
        baseline_seconds=baseline,
        speed_up=baseline / seconds,
    )
