"""What a ladder is set beside: the bare network, and other packages with the same network."""

from __future__ import annotations

import statistics
from typing import Any, NamedTuple

import torch

import vml_fast as vf
from benchmarks.peers import PEERS, import_deepinv, ours, peer
from benchmarks.timing import seconds_of
from vml_fast.evaluation.profiling import Ratio, inner_step_ratio
from vml_fast.evaluation.throughput import paired_ratio
from vml_fast.evaluation.workload import Workload, bare_pass, smooth_images

PEER_STEPS = 6


class Peer(NamedTuple):
    """A method of another package, and ours with the accelerated network.

    Attributes:
        method: a name of `PEERS`.
        version: of the package.
        milliseconds: of one of its steps: a denoiser call, and for DPS its derivative.
        milliseconds_here: of ours.
        speed_up: theirs over ours.
    """

    method: str
    version: str
    milliseconds: float
    milliseconds_here: float
    speed_up: float


def step_over_network(workload: Workload, rounds: int) -> Ratio:
    """An inner step of the accelerated solve beside its network's forward and VJP.

    On a GPU both are recorded and replayed.
    """
    recorded = workload.y.is_cuda
    fast = vf.accelerate(workload.denoiser, "auto")
    solver = workload.solver(fast, compile=False, cuda_graph=recorded)
    bare = bare_pass(fast, workload.batch, cuda_graph=recorded)
    solver.solve(workload.y)
    found = inner_step_ratio(
        lambda: solver.solve(workload.y), bare, workload.y.device, rounds=rounds
    )
    assert found is not None
    return found


def peers(workload: Workload, rounds: int) -> list[Peer]:
    """deepinv's DPS and DDRM with the plain network, in turn with ours.

    Raises:
        ImportError: deepinv is not here; the message says why.
    """
    version = str(import_deepinv().__version__)
    return [against(method, version, workload, rounds) for method in PEERS]


def against(method: str, version: str, workload: Workload, rounds: int) -> Peer:
    """One method of deepinv; most pixels are hidden."""
    denoiser, device = workload.denoiser, workload.y.device
    images = smooth_images(workload.batch, denoiser.image_shape).to(device)
    mask = vf.operators.masks.random_mask(denoiser.image_shape).to(device)
    theirs = peer(method, denoiser, images, mask, PEER_STEPS)
    fast = ours(method, vf.accelerate(denoiser, "auto"), images, mask, PEER_STEPS)
    times: tuple[list[float], list[float]] = ([], [])
    with torch.enable_grad():
        for repeat in range(rounds + 1):
            for solve, seconds in zip((theirs, fast), times, strict=True):
                seconds.append(seconds_of(solve))
            if repeat == 0:  # the warm-up
                for seconds in times:
                    seconds.clear()
    slow, quick = (1e3 * statistics.median(seconds) / PEER_STEPS for seconds in times)
    return Peer(method, version, slow, quick, paired_ratio(*times))


def peers_or_why_not(workload: Workload, rounds: int) -> tuple[list[dict[str, Any]], str | None]:
    """The peers as JSON, or the reason why there are none."""
    try:
        return [found._asdict() for found in peers(workload, rounds)], None
    except ImportError as error:
        return [], str(error)
