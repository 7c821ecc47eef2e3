"""Shares of ranges against sleeps of known length, kernels and traces of a known function."""

import json
import shutil
import time

import pytest
import torch

from vml_fast import trace
from vml_fast.denoisers import EDMDenoiser
from vml_fast.errors import InputError
from vml_fast.evaluation import profiling, workload
from vml_fast.evaluation.stopwatch import REST, WHOLE, Stopwatch

CPU = torch.device("cpu")
SHAPE = (3, 16, 16)


class Network(torch.nn.Module):
    """One convolution."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, t):
        return torch.tanh(self.layer(x))


@pytest.fixture
def prior():
    torch.manual_seed(0)
    return EDMDenoiser(Network(), SHAPE)


@pytest.fixture
def small(prior):
    return workload.make_workload(prior, "sr4", batch=2, steps=3, inner_steps=2)


def sleeping_solve():
    """Two inner steps with parts of known length, and one without any range inside."""
    with trace.range("solve"):
        for _ in range(2):
            with trace.range("inner step"):
                with trace.range("denoiser"):
                    time.sleep(0.04)
                with trace.range("vjp"):
                    time.sleep(0.08)
                time.sleep(0.02)
        with trace.range("inner step"):
            time.sleep(0.06)


def test_shares_of_known_sleeps():
    seconds, parts = profiling.measured_parts(sleeping_solve, CPU)
    found = {part.name: part for part in parts}
    assert list(found) == ["denoiser", "vjp", WHOLE, REST]
    assert [found[name].calls for name in ("denoiser", "vjp", WHOLE)] == [2, 2, 1]
    expected = {"denoiser": 0.08, "vjp": 0.16, WHOLE: 0.06, REST: 0.04}
    for name, wanted in expected.items():
        assert wanted <= found[name].seconds < wanted + 0.03, name
    assert sum(part.share for part in parts) == pytest.approx(1.0)
    assert sum(part.seconds for part in parts) == pytest.approx(seconds, rel=0.05)


def test_the_median_of_a_range_that_never_ran():
    with pytest.raises(ValueError, match="no range 'vjp' was run"):
        Stopwatch(CPU).median("vjp")


def test_a_solve_is_nothing_but_its_parts(small):
    solver = small.solver()
    _, parts = profiling.measured_parts(lambda: solver.solve(small.y), CPU)
    calls = {part.name: part.calls for part in parts}
    assert calls["denoiser"] == 3 * (2 + 1)
    assert calls["vjp"] == calls["bracket"] == calls["update"] == 3 * 2
    assert calls["transition"] == 2
    assert all(part.seconds >= 0 for part in parts)


def test_the_ratio_sees_an_inner_step_of_twice_the_network():
    def solve():
        with trace.range("inner step"):
            time.sleep(0.04)

    ratio = profiling.inner_step_ratio(solve, lambda: time.sleep(0.02), CPU)
    assert ratio.value == pytest.approx(2.0, rel=0.2)
    assert ratio.inner_step == pytest.approx(0.04, rel=0.2)
    assert profiling.inner_step_ratio(lambda: None, lambda: None, CPU) is None


def test_the_trace_has_the_ranges_and_the_table_the_operations(small, tmp_path):
    solver = small.solver()
    path = tmp_path / "trace.json"
    kernels = profiling.traced_kernels(lambda: solver.solve(small.y), CPU, path, top=50)
    names = {event["name"] for event in json.loads(path.read_text())["traceEvents"]}
    assert set(trace.RANGES) <= names
    assert not set(trace.RANGES) & {kernel.name for kernel in kernels}
    tanh = next(kernel for kernel in kernels if kernel.name == "aten::tanh")
    assert tanh.calls == 3 * (2 + 1)
    assert [k.seconds for k in kernels] == sorted((k.seconds for k in kernels), reverse=True)
    few = profiling.traced_kernels(lambda: solver.solve(small.y), CPU, path, top=2)
    assert len(few) == 2
    assert few[0].share > few[1].share > 0


def test_a_bare_pass_is_one_forward_and_the_transposed_jacobian(prior):
    bare = workload.bare_pass(prior, 2)
    calls = []
    prior.network.register_forward_hook(lambda *_: calls.append(1))
    found = bare()
    assert calls == [1]
    u = workload.smooth_images(2, SHAPE)
    _, transposed = torch.func.vjp(lambda v: prior.raw(v, torch.zeros(2)), u)
    torch.testing.assert_close(found, transposed(torch.ones_like(u))[0])


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_a_compiled_bare_pass_uses_the_code_of_the_solve(small):
    eager = workload.bare_pass(small.denoiser, small.batch)()
    small.solver(compile=True).solve(small.y)
    frames = torch._dynamo.utils.counters["frames"]["total"]
    found = workload.bare_pass(small.denoiser, small.batch, compile=True)()
    assert torch._dynamo.utils.counters["frames"]["total"] == frames, "it was compiled again"
    torch.testing.assert_close(found, eager)


def test_the_workload_is_a_problem_that_the_reference_solves_alike(small):
    assert small.batch == 2
    torch.testing.assert_close(
        small.solver().solve(small.y).image, small.reference(), rtol=1e-4, atol=1e-5
    )
    noisy = workload.make_workload(
        small.denoiser, "sr4", batch=2, steps=1, inner_steps=1, noise_std=0.5
    )
    assert float((noisy.y - small.y).std()) == pytest.approx(0.5, rel=0.2)


def test_images_differ_and_stay_in_range():
    images = workload.smooth_images(3, SHAPE)
    assert images.shape == (3, *SHAPE)
    assert float(images.abs().max()) <= 1
    assert float((images[0] - images[1]).abs().max()) > 0.1
    assert torch.equal(images[:2], workload.smooth_images(2, SHAPE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"inner_steps": 0}, "inner_steps is 0"),
        ({"noise_std": -1.0}, "noise_std is -1.0"),
        ({"noise_std": float("nan")}, "noise_std is nan"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"task_name": "inpaint"}, "needs a mask"),
    ],
)
def test_bad_workloads_are_refused(prior, change, message):
    good = {"task_name": "sr4", "batch": 1, "steps": 1, "inner_steps": 1}
    with pytest.raises(InputError, match=message):
        workload.make_workload(prior, **(good | change))


def test_runner_options_follow_the_words():
    assert workload.runner_options("on", "off") == {"compile": True, "cuda_graph": False}
    assert workload.runner_options("auto", "auto") == {"compile": "auto", "cuda_graph": "auto"}
    with pytest.raises(InputError, match="cuda_graph is 'yes'; it must be auto, on or off"):
        workload.runner_options("auto", "yes")


def test_the_capture_range_starts_and_stops_the_cuda_profiler(monkeypatch):
    heard = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: heard.append("wait"))
    monkeypatch.setattr(torch.cuda.profiler, "start", lambda: heard.append("start"))
    monkeypatch.setattr(torch.cuda.profiler, "stop", lambda: heard.append("stop"))
    with profiling.capture_range(torch.device("cuda")):
        heard.append("work")
    assert heard == ["wait", "start", "work", "wait", "stop"]
    with profiling.capture_range(CPU):
        pass
    assert len(heard) == 5
