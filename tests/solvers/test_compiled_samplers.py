"""DPS and PiGDM with a compiled network, and what their networks are given."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import vml_fast as vf
from tests.runtime.networks import small_denoiser
from vml_fast.errors import BackendUnavailable, InputError
from vml_fast.operators import task
from vml_fast.runtime import compiled

SHAPE = (3, 16, 16)
needs_compiler = pytest.mark.skipif(
    compiled.obstacle(torch.device("cpu"), "vjp") is not None, reason="no C++ compiler"
)


def solve(solver: type[Any], denoiser: Any, **settings: Any) -> vf.Result:
    H = task("sr2", SHAPE)
    y = H(torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    return solver(denoiser, H, noise_std=0.05, steps=6, **settings).solve(y)


@pytest.mark.parametrize("solver", [vf.DPS, vf.PiGDM, vf.DDRM, vf.DAPS])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_skip_path_is_taken_analytically(solver: type[Any], dtype: str) -> None:
    """Equal to a callable whose parts nobody sees, which autograd goes through as a whole."""
    plain = small_denoiser(SHAPE)
    expected = solve(solver, lambda x, sigma: plain(x, sigma)).image
    found = solve(solver, vf.accelerate(plain, dtype)).image
    tolerance = 1e-5 if dtype == "float32" else 0.05
    assert (found - expected).norm() < tolerance * expected.norm()


@needs_compiler
@pytest.mark.parametrize("solver", [vf.DPS, vf.PiGDM])
def test_compiled_equals_eager_and_compiles_once(solver: type[Any]) -> None:
    denoiser = vf.accelerate(small_denoiser(SHAPE), "float32")
    first = solve(solver, denoiser, compile=True)
    expected = solve(solver, denoiser, compile=False)
    assert (first.image - expected.image).norm() < 1e-5 * expected.image.norm()
    assert 0 < first.warmup_seconds < first.seconds
    assert expected.warmup_seconds == 0
    assert solve(solver, denoiser, compile=True).warmup_seconds == 0
    assert (first.denoiser_calls, first.vjp_calls) == (6, 6)


@pytest.mark.parametrize("solver", [vf.DPS, vf.PiGDM])
def test_what_cannot_be_had_says_why(solver: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="compile is 'yes'"):
        solve(solver, small_denoiser(SHAPE), compile="yes")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"compile=True.*no C\+\+ compiler"):
        solve(solver, small_denoiser(SHAPE), compile=True)
