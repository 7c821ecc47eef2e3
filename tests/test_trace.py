"""Ranges reach whoever looks, nest as the solve does, and cost nothing where nobody does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import vml_fast as vf
from vml_fast import trace

STEPS, INNER_STEPS = 3, 2
EXPECTED = {
    "solve": 1,
    "level": STEPS,
    "inner step": STEPS * INNER_STEPS,
    "denoiser": STEPS * (INNER_STEPS + 1),
    "vjp": STEPS * INNER_STEPS,
    "bracket": STEPS * INNER_STEPS,
    "update": STEPS * INNER_STEPS,
    "transition": STEPS - 1,
}


class Log:
    """A watch that notes what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []
        self.open: list[str] = []

    def enter(self, name: str) -> None:
        self.lines.append((name, len(self.open)))
        self.open.append(name)

    def exit(self) -> None:
        self.open.pop()


def solve() -> vf.Result:
    shape = (3, 8, 8)
    operator = vf.operators.SuperResolution(shape, factor=4)
    solver = vf.VMLMAP(
        lambda x, sigma: 0.5 * torch.tanh(x), operator, steps=STEPS, inner_steps=INNER_STEPS
    )
    return solver.solve(torch.zeros(2, 3, 2, 2))


def test_a_solve_has_every_range_as_often_as_it_should() -> None:
    log = Log()
    with trace.watched(log):
        solve()
    assert Counter(name for name, _ in log.lines) == EXPECTED
    assert set(EXPECTED) == set(trace.RANGES)
    depths = dict(log.lines)
    assert (depths["solve"], depths["level"], depths["inner step"], depths["vjp"]) == (0, 1, 2, 3)
    assert not log.open


def test_ranges_are_in_the_trace_of_torch_profiler(tmp_path: Path) -> None:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        solve()
    file = tmp_path / "trace.json"
    profiler.export_chrome_trace(str(file))
    events = json.loads(file.read_text())["traceEvents"]
    counts = Counter(e["name"] for e in events if e.get("cat") == "user_annotation")
    assert {name: counts[name] for name in EXPECTED} == EXPECTED


def test_outside_a_profile_torch_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "record_function", lambda name: pytest.fail(name))
    solve()


def test_ranges_go_to_the_nvtx_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    real = trace.nvtx.annotate

    def annotate(message: str, *, domain: str) -> object:
        seen.append((domain, message))
        return real(message, domain=domain)

    monkeypatch.setattr(trace.nvtx, "annotate", annotate)
    trace._nvtx_range.cache_clear()
    solve()
    assert sorted(seen) == sorted((trace.DOMAIN, name) for name in trace.RANGES)


def test_a_missing_nvtx_stops_nothing() -> None:
    code = (
        "import sys; sys.modules['nvtx'] = None\n"
        "from vml_fast import trace\n"
        "assert trace.nvtx is None\n"
        "with trace.range('solve'), trace.range('level'): pass\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_watch_sees_its_own_thread_only() -> None:
    log = Log()
    with trace.watched(log):
        thread = threading.Thread(target=solve)
        thread.start()
        thread.join()
    assert not log.lines
    solve()
    assert not log.lines


def test_an_error_closes_every_range() -> None:
    log = Log()

    def inside() -> None:
        with trace.range("solve"), trace.range("level"):
            raise ValueError("stop")

    with trace.watched(log), pytest.raises(ValueError, match="stop"):
        inside()
    assert len(log.lines) == 2
    assert not log.open


def test_a_range_does_not_split_a_compiled_graph() -> None:
    @torch.compile(backend="eager", fullgraph=True)
    def compiled(x: torch.Tensor) -> torch.Tensor:
        with trace.range("inner step"):
            return x + 1

    assert compiled(torch.zeros(2)).tolist() == [1.0, 1.0]


def test_an_unobserved_range_is_cheap() -> None:
    def seconds(count: int = 2000) -> float:
        start = time.process_time()
        for _ in range(count):
            with trace.range("update"):
                pass
        return (time.process_time() - start) / count

    assert min(seconds() for _ in range(5)) < 20e-6  # an inner step of emoji64 takes 20 ms or more
