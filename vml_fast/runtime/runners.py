"""Makes the runner of a solve, or takes the one that an equal solve has left."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vml_fast.runtime.ascent import Ascent, make_ascent_bracket
from vml_fast.runtime.bracket import Bracket
from vml_fast.runtime.cache import ExclusiveCache
from vml_fast.runtime.choose import Choice, Job, Wish, choose
from vml_fast.runtime.compiled import CompiledNetwork
from vml_fast.runtime.eager import EagerRunner, silent
from vml_fast.runtime.fused import make_bracket
from vml_fast.runtime.graph import GraphRunner
from vml_fast.runtime.network import Denoiser, Network

CAPACITY = 4
"""How many recorded runners a process keeps; each holds the memory of an inner step."""

recorded: ExclusiveCache[GraphRunner] = ExclusiveCache(CAPACITY)


@contextmanager
def take_runner(job: Job, choice: Choice) -> Iterator[EagerRunner]:
    """A runner for one solve, nobody else's meanwhile, at the start of the solve.

    What it records is kept for later solves of the same structure by the same denoiser.

    Raises:
        BackendUnavailable: an op's backend was asked for by name and cannot run.
    """
    start = time.perf_counter()
    made = _graph(job, choice) if choice.cuda_graph else _eager(job, choice)
    yield made
    if job.x.is_cuda:
        torch.cuda.synchronize(job.x.device)
    _note(job, choice, made, time.perf_counter() - start)
    if isinstance(made, GraphRunner) and made.recordable:
        for network in made.networks:
            network.denoiser = None  # which the cache must not keep alive, nor the caller's bar
        made.announce = silent
        recorded.put_back(job.denoiser, _key(job, choice), made)


def _eager(job: Job, choice: Choice) -> EagerRunner:
    bracket = _brackets(job, choice)(job.problem)
    return EagerRunner(_network(job, choice), bracket, job.x, condition=job.condition)


def _brackets(job: Job, choice: Choice) -> Callable[[Any], Bracket]:
    """What makes the bracket of the job's problem."""
    if not isinstance(job.problem, Ascent):
        return make_bracket
    prior = None
    if job.prior is not None:
        prior = _network(replace(job, denoiser=job.prior, prior=None), choice)
    return partial(make_ascent_bracket, prior=prior)


def _graph(job: Job, choice: Choice) -> GraphRunner:
    left = recorded.take(job.denoiser, _key(job, choice))
    if left is None:
        return GraphRunner(
            _network(job, choice),
            job.problem,
            job.x,
            _brackets(job, choice),
            condition=job.condition,
            insist="cuda_graph" in choice.insisted,
        )
    for network, denoiser in zip(left.networks, job.denoisers, strict=True):
        network.denoiser = denoiser
    left.insist = "cuda_graph" in choice.insisted
    left.load(job.problem, job.x, job.condition)
    return left


def _key(job: Job, choice: Choice) -> Any:
    """Of a recording: it holds no denoiser, and what one of the past has left fits no other."""
    prior = None if job.prior is None else weakref.ref(job.prior)
    return (job.key, choice.compile, prior)


def make_network(
    denoiser: Denoiser, x: Tensor, condition: Mapping[str, Any], compile: Wish, calls: int
) -> Network:
    """The network of a denoiser, as it is or compiled, for a solve without a runner.

    Args:
        denoiser: D.
        x: a state.
        condition: keywords of the denoiser.
        compile: True, False or "auto".
        calls: about how many there will be.

    Raises:
        BackendUnavailable: compiling was asked for and cannot be.
    """
    nothing: Any = None  # a network knows of no problem
    job = Job(denoiser, nothing, x, "vjp", condition, calls)
    return _network(job, choose(job, compile, False))


def _network(job: Job, choice: Choice) -> Network:
    if not choice.compile:
        return Network(job.denoiser, job.jacobian)
    return CompiledNetwork(
        job.denoiser,
        job.jacobian,
        job.network_key,
        job.x.device,
        insist="compile" in choice.insisted,
    )


def _note(job: Job, choice: Choice, made: EagerRunner, seconds: float) -> None:
    """Remember what later choices are made by."""
    pace, network = job.pace, made.network
    if isinstance(network, CompiledNetwork):
        if not network.compiled:
            pace.failed.add("compile")
        elif made.warmup_seconds:
            pace.compiling = made.warmup_seconds
    elif made.products and not choice.cuda_graph:
        pace.eager_step = seconds / made.products
    if isinstance(made, GraphRunner) and not made.recordable:
        pace.failed.add("cuda_graph")
