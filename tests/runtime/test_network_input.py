"""u is kept as the accelerated network wants it: nothing converts it at an inner step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import vml_fast as vf
from tests.runtime.networks import small_denoiser
from vml_fast.operators import task

SHAPE = (3, 16, 16)


@pytest.mark.parametrize("method", [vf.VMLMAP, vf.MAPGA])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_network_is_given_its_own_format(
    method: type[Any], dtype: str, channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, H = small_denoiser(SHAPE), task("sr2", SHAPE)
    fast = vf.accelerate(plain, dtype, channels_last)
    format = torch.channels_last if channels_last else torch.contiguous_format
    seen: list[tuple[bool, torch.dtype]] = []
    raw = fast.raw

    def watched(u: Tensor, *arguments: Any, **condition: Any) -> Tensor:
        seen.append((u.is_contiguous(memory_format=format), u.dtype))
        return raw(u, *arguments, **condition)

    monkeypatch.setattr(fast, "raw", watched)
    y = H(torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    found = method(fast, H, steps=3, inner_steps=2).solve(y)
    assert seen == [(True, getattr(torch, dtype))] * found.denoiser_calls
    expected = method(plain, H, steps=3, inner_steps=2).solve(y).image
    tolerance = 1e-4 if dtype == "float32" else 0.1
    assert (found.image - expected).norm() < tolerance * expected.norm()
