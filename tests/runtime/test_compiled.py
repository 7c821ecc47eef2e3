"""The compiled network: equal to eager, compiled once for all levels, bound to nobody's life."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

import vml_fast as vf
from tests.runtime.networks import SHAPE, small_denoiser
from vml_fast.errors import BackendUnavailable, InputError
from vml_fast.operators import SuperResolution
from vml_fast.runtime import compiled

needs_compiler = pytest.mark.skipif(
    compiled.obstacle(torch.device("cpu"), "vjp") is not None, reason="no C++ compiler"
)
H = SuperResolution(SHAPE, 2)
Solve = Callable[..., vf.Result]


def measurement(batch: int = 2) -> Tensor:
    return H(torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(0)))


def solve(denoiser: vf.denoisers.EDMDenoiser, compile: bool | str, **settings) -> vf.Result:
    settings = {"steps": 4, "inner_steps": 3, "noise_std": 0.05} | settings
    labels = torch.tensor([1, 2])
    solver = vf.VMLMAP(denoiser, H, compile=compile, **settings)
    return solver.solve(measurement(), condition={"labels": labels})


@needs_compiler
@pytest.mark.parametrize("jacobian", ["vjp", "finite_difference"])
def test_equals_eager_and_compiles_once(jacobian: str) -> None:
    denoiser = small_denoiser()
    expected = solve(denoiser, False, jacobian=jacobian)
    first = solve(denoiser, True, jacobian=jacobian)
    # a difference of two outputs magnifies their rounding
    tolerance = 1e-5 if jacobian == "vjp" else 1e-3
    torch.testing.assert_close(first.image, expected.image, rtol=0, atol=tolerance)
    assert 0 < first.warmup_seconds < first.seconds
    graphs = counters["stats"]["unique_graphs"]
    again = solve(denoiser, True, jacobian=jacobian, steps=6, noise_std=0.0)
    assert again.warmup_seconds == 0
    assert counters["stats"]["unique_graphs"] == graphs
    torch.testing.assert_close(
        again.image,
        solve(denoiser, False, jacobian=jacobian, steps=6, noise_std=0.0).image,
        rtol=0,
        atol=tolerance,
    )
    assert (first.denoiser_calls, first.vjp_calls) == (4 * 3 + 4, 4 * 3)


@needs_compiler
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_an_accelerated_network_is_compiled_too(backend: str) -> None:
    denoiser = small_denoiser((3, 16, 16))
    fast = vf.accelerate(denoiser, "float32", backend=backend)
    assert fast.acceleration.fused == 1
    operator = SuperResolution(fast.image_shape, 2)
    y = operator(torch.randn(2, *fast.image_shape, generator=torch.Generator().manual_seed(0)))
    plain, found = (
        vf.VMLMAP(d, operator, steps=5, inner_steps=4, noise_std=0.05, compile=wish).solve(y).image
        for d, wish in ((denoiser, False), (fast, True))
    )
    assert (found - plain).norm() < 1e-4 * plain.norm()


@needs_compiler
def test_auto_takes_what_is_compiled_and_compiles_nothing_new() -> None:
    denoiser = small_denoiser()
    counters.clear()
    solve(denoiser, "auto")
    assert not counters["stats"]
    solve(denoiser, True)
    calls: list[object] = []
    forward = compiled.CompiledForward.__call__

    def counted(self: compiled.CompiledForward, *arguments: object) -> Tensor:
        calls.append(self)
        return forward(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled.CompiledForward, "__call__", counted)
        result = solve(denoiser, "auto")
    assert len(calls) == result.denoiser_calls
    assert result.warmup_seconds == 0


@needs_compiler
def test_code_does_not_outlive_its_denoiser_nor_keep_it() -> None:
    denoiser = small_denoiser()
    solve(denoiser, True)
    before = len(compiled._compiled)
    dead = weakref.ref(denoiser)
    del denoiser
    gc.collect()
    assert dead() is None
    assert len(compiled._compiled) == before - 1


@needs_compiler
def test_many_denoisers_are_all_compiled() -> None:
    """Torch gives up on code that it has compiled eight times; each network has code of its own."""
    for _ in range(9):
        assert solve(small_denoiser(), True, steps=2, inner_steps=1).warmup_seconds > 0


@needs_compiler
def test_what_cannot_be_compiled_says_why_or_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    denoiser = small_denoiser()
    forward = denoiser.network.forward

    def breaking(u: Tensor, c_noise: Tensor, labels: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return forward(u, c_noise, labels)

    denoiser.network.forward = breaking
    with pytest.raises(BackendUnavailable, match="cannot compile the network"):
        solve(denoiser, True)
    expected = solve(denoiser, False).image
    monkeypatch.setattr("vml_fast.runtime.choose.COMPILE_SECONDS", 0.0)
    with pytest.warns(UserWarning, match="is not compiled"):
        assert torch.equal(solve(denoiser, "auto").image, expected)
    assert torch.equal(solve(denoiser, "auto").image, expected)  # and is not tried again


@needs_compiler
def test_code_that_torch_gives_up_on_says_why_or_runs_as_it_is() -> None:
    """A network that changes is compiled anew, until torch has had enough."""
    denoiser = small_denoiser()
    solve(denoiser, True)
    expected = solve(denoiser, False).image
    denoiser.network.first.padding_mode = "circular"
    with torch._dynamo.config.patch(recompile_limit=1):
        with pytest.raises(BackendUnavailable, match="cannot compile the network"):
            solve(denoiser, True)
        with pytest.warns(UserWarning, match="is not compiled"):
            changed = solve(denoiser, "auto").image
    assert torch.equal(changed, solve(denoiser, False).image)
    assert not torch.equal(changed, expected)


def test_jvp_and_a_missing_compiler_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendUnavailable, match=r"compile=True.*jvp"):
        solve(small_denoiser(), True, jacobian="jvp")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"compile=True.*no C\+\+ compiler"):
        solve(small_denoiser(), True)
    assert solve(small_denoiser(), "auto").warmup_seconds == 0


@pytest.mark.parametrize("name", ["compile", "cuda_graph"])
def test_a_wish_is_auto_true_or_false(name: str) -> None:
    with pytest.raises(InputError, match=name):
        vf.VMLMAP(small_denoiser(), H, **{name: "yes"})


PROCESS = """
from tests.runtime.test_compiled import solve
from tests.runtime.networks import small_denoiser
from torch._dynamo.utils import counters
solve(small_denoiser(), True)
found = counters["inductor"]
print("hits", found["fxgraph_cache_hit"], "misses", found["fxgraph_cache_miss"])
print("joint", counters["aot_autograd"]["autograd_cache_hit"])
"""


@pytest.mark.slow
@needs_compiler
def test_a_later_process_finds_the_code_on_disk(tmp_path: Path) -> None:
    """In the folder that TORCHINDUCTOR_CACHE_DIR names."""
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}

    def run() -> str:
        command = [sys.executable, "-c", PROCESS]
        root = Path(__file__).parents[2]
        return subprocess.run(
            command, cwd=root, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert "hits 0 misses 0" not in run()
    assert "misses 0" in run()
