"""What "auto" chooses, and that a first short job is always eager."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.runtime.fake_graph import fake_graphs
from tests.runtime.networks import SHAPE, small_denoiser
from vml_fast.operators import SuperResolution
from vml_fast.runtime import choose
from vml_fast.runtime.choose import Choice, Job
from vml_fast.runtime.problem import Problem

EAGER = Choice(False, False)


def job(steps: int = 200) -> Job:
    H = SuperResolution(SHAPE, 2)
    x = torch.zeros(2, *SHAPE)
    problem = Problem(H, H(x), torch.zeros(2, dtype=torch.float64), "auto", "auto", 1.0)
    return Job(small_denoiser(), problem, x, "vjp", {}, steps)


def test_a_first_job_is_eager_however_long() -> None:
    assert choose.choose(job(10**9), "auto", "auto") == EAGER


@pytest.mark.skipif(
    choose.compiled.obstacle(torch.device("cpu"), "vjp") is not None, reason="no C++ compiler"
)
def test_a_long_job_is_compiled_once_the_pace_is_known() -> None:
    """Saving 1 - 1/1.08 of an hour and a half pays for four minutes; of a minute it does not."""
    known = job()
    known.pace.eager_step = 1.0
    assert choose.choose(replace(known, total_steps=60), "auto", "auto") == EAGER
    assert choose.choose(replace(known, total_steps=5400), "auto", "auto").compile
    known.pace.compiling = 600.0  # as measured here, slower than the table has it
    assert choose.choose(replace(known, total_steps=5400), "auto", "auto") == EAGER
    known.pace.compiling = 1.0
    known.pace.failed.add("compile")
    assert choose.choose(replace(known, total_steps=5400), "auto", "auto") == EAGER


def test_nothing_is_compiled_where_the_gain_was_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choose, "GAIN", {})
    known = job()
    known.pace.eager_step = 1000.0
    assert choose.choose(known, "auto", "auto") == EAGER


def test_a_graph_is_recorded_from_some_steps_on() -> None:
    with fake_graphs():
        assert not choose.choose(job(choose.GRAPH_FROM - 1), "auto", "auto").cuda_graph
        assert choose.choose(job(choose.GRAPH_FROM), "auto", "auto").cuda_graph
        assert not choose.choose(job(), "auto", False).cuda_graph
        plain = replace(job(), denoiser=lambda x, sigma: x)
        assert not choose.choose(plain, "auto", "auto").cuda_graph
        assert choose.choose(plain, "auto", True) == Choice(False, True, frozenset({"cuda_graph"}))


def test_equal_jobs_have_equal_keys() -> None:
    first = job()
    same = replace(job(5), denoiser=first.denoiser)
    assert same.key == first.key
    noisy = replace(first, problem=replace(first.problem, noise_std=torch.ones(2)))
    labeled = replace(first, condition={"labels": torch.zeros(2, dtype=torch.int64)})
    scaled = replace(first, condition={"guidance": 2.0})
    larger = replace(first, x=torch.zeros(3, *SHAPE))
    keys = {first.key, noisy.key, labeled.key, scaled.key, larger.key}
    assert len(keys) == 5
    assert replace(scaled, condition={"guidance": 3.0}).key not in keys


def test_a_condition_that_cannot_be_copied_in() -> None:
    reason = choose.graph_obstacle(replace(job(), x=torch.zeros(1, device="meta")))
    assert "CUDA" in str(reason)
