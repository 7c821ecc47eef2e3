"""Whole solves at the sizes of the field: plain PyTorch, then each acceleration added in turn.

Rounds of a rung and of the reference alternate. A CPU takes the embedded prior, and with `-m ""`
the network of EDM at 64²; a GPU takes all of them. PyTorch's own settings hold for both: on a GPU
the float32 convolutions of the reference are TF32.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import vml_fast as vf
from benchmarks.beside import PEER_STEPS
from benchmarks.cases import chosen_set
from benchmarks.claims import Claim, add_claim
from benchmarks.machine import DEVICE, machine_record
from benchmarks.networks import NETWORKS, millions
from benchmarks.peak import floating_point_operations, peak_flops
from benchmarks.peers import PEERS, import_deepinv, ours, peer
from benchmarks.timing import seconds_of
from vml_fast.evaluation.ladder import KEYS, Ladder, ladder
from vml_fast.evaluation.profiling import inner_step_ratio
from vml_fast.evaluation.throughput import Measurement, first, paired_ratio, tolerance
from vml_fast.evaluation.workload import Workload, bare_pass, make_workload, smooth_images

pytest.importorskip("diffusers")

ROUNDS = 3
BATCHES = (1, 8, 16, 32) if DEVICE == "cuda" else (1, 8)
WANTED_ON_CUDA = {1: 4.0, 16: 3.0}
"""Batch to the promised speed-up of the whole ladder over plain PyTorch, 256² networks."""
WANTED_ON_CPU = 3.0
"""Likewise with bfloat16 on a CPU that has it: the embedded prior at batch 8."""
STEP_SHARE = {"cpu": 1.05, "cuda": 1.02}
"""An inner step over the network's own forward and VJP."""


def sizes() -> list[Any]:
    """(network, batch) for this device."""
    if DEVICE == "cuda":
        return [(name, batch) for name in NETWORKS for batch in BATCHES]
    here = [(name, batch) for name, found in NETWORKS.items() if found.on_cpu for batch in BATCHES]
    return [*here, pytest.param("edm64", 1, marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def with_gradients() -> Iterator[None]:
    """What is timed here takes derivatives."""
    with torch.enable_grad():
        yield
    if DEVICE == "cuda":
        torch.cuda.empty_cache()


@pytest.fixture(scope="module")
def rungs() -> Ladder:
    """What can be compared here."""
    return ladder(torch.device(DEVICE))


@pytest.fixture
def workload(network: str, batch: int, request: pytest.FixtureRequest) -> Workload:
    """2 noise levels of 10 steps for the embedded prior, fewer steps for large networks."""
    tiny = chosen_set(request.config) == "tiny"
    denoiser = NETWORKS[network].build(DEVICE)
    steps, inner_steps = (1, 1) if tiny else (2, 10 if network == "emoji64" else 3)
    return make_workload(
        denoiser, "sr4", batch=1 if tiny else batch, steps=steps, inner_steps=inner_steps
    )


@pytest.mark.parametrize("rung", KEYS[1:])
@pytest.mark.parametrize(("network", "batch"), sizes())
def test_throughput(
    benchmark: Any, rungs: Ladder, workload: Workload, network: str, batch: int, rung: str
) -> None:
    if rung in rungs.left_out:
        pytest.skip(rungs.left_out[rung])
    if rung in ("compile", "cuda-graph") and not benchmark.enabled:
        pytest.skip("compiling takes minutes")
    chosen = next(found for found in rungs.rungs if found.key == rung)
    device = workload.y.device
    benchmark.group = "throughput"
    slow: list[float] = []
    try:
        truth = workload.reference()
        measured, solve, _ = first(workload, chosen, truth)
        assert measured.difference <= tolerance(chosen, device)
        benchmark.pedantic(
            solve, rounds=ROUNDS, teardown=lambda: slow.append(seconds_of(workload.reference))
        )
    except torch.OutOfMemoryError:
        pytest.skip(f"{network} at batch {batch} does not fit")
    if benchmark.enabled:
        note(benchmark, workload, measured, slow)
        promise(benchmark.extra_info, network, workload.batch, rung, rungs)


def note(benchmark: Any, workload: Workload, measured: Measurement, slow: list[float]) -> None:
    """What the record says."""
    times = benchmark.stats.stats.data
    measured.seconds += times
    seconds, baseline = measured.median, statistics.median(slow)
    passes = workload.steps * workload.inner_steps
    benchmark.extra_info.update(
        machine_record(),
        label=measured.rung.label,
        parameters_in_millions=millions(workload.denoiser),
        steps=workload.steps,
        inner_steps=workload.inner_steps,
        batch=workload.batch,
        baseline_seconds=baseline,
        speed_up=paired_ratio(slow, times),
        images_per_second=workload.batch / seconds,
        milliseconds_per_inner_step=1e3 * seconds / passes,
        baseline_milliseconds_per_inner_step=1e3 * baseline / passes,
        warm_up_seconds=measured.warm_up_seconds,
        extra_bytes=measured.extra_bytes,
        difference=measured.difference,
    )


def promise(info: dict[str, Any], network: str, batch: int, rung: str, rungs: Ladder) -> None:
    """The promises that this rung is about."""
    text = f"whole solve, {network}, batch {batch}, up to {info['label']}: faster than PyTorch"
    last = rungs.rungs[-1].key
    if DEVICE == "cuda" and rung == last and network.endswith("256") and batch in WANTED_ON_CUDA:
        add_claim(info, Claim(text, info["speed_up"], "at least", WANTED_ON_CUDA[batch]))
    if DEVICE == "cpu" and (network, batch, rung) == ("emoji64", 8, "bfloat16"):
        add_claim(info, Claim(text, info["speed_up"], "at least", WANTED_ON_CPU))


@pytest.mark.parametrize(("network", "batch"), sizes())
def test_inner_step_over_network(
    benchmark: Any, workload: Workload, network: str, batch: int
) -> None:
    """An inner step of the accelerated solve beside the network's forward and VJP alone."""
    recorded = DEVICE == "cuda"
    tiny = not benchmark.enabled
    fast = vf.accelerate(workload.denoiser, "auto")
    bare = bare_pass(fast, workload.batch, cuda_graph=recorded)
    solver = vf.VMLMAP(
        fast,
        workload.operator,
        steps=1,
        inner_steps=1 if tiny else 20,
        compile=False,
        cuda_graph=recorded,
    )
    benchmark.group = "inner step over network"
    benchmark.pedantic(lambda: solver.solve(workload.y), warmup_rounds=1, rounds=1)
    if tiny:
        return
    found = inner_step_ratio(
        lambda: solver.solve(workload.y), bare, workload.y.device, rounds=ROUNDS
    )
    assert found is not None
    step, network_alone = found.inner_step, found.bare_pass
    flops = floating_point_operations(bare_pass(fast, workload.batch))
    benchmark.extra_info.update(
        machine_record(),
        batch=workload.batch,
        dtype=str(fast.network_dtype).removeprefix("torch."),
        milliseconds_per_inner_step=1e3 * step,
        milliseconds_of_network=1e3 * network_alone,
        ratio=found.value,
        teraflops_per_second=flops / step / 1e12,
        share_of_measured_peak=flops / step / peak_flops(fast.network_dtype),
    )
    text = f"inner step over forward + VJP, {network}, batch {batch}"
    claim = Claim(text, found.value, "at most", STEP_SHARE[DEVICE])
    add_claim(benchmark.extra_info, claim)


@pytest.mark.parametrize("method", PEERS)
@pytest.mark.parametrize(("network", "batch"), sizes())
def test_peer(
    benchmark: Any, request: pytest.FixtureRequest, network: str, batch: int, method: str
) -> None:
    """deepinv's solver with the plain network against ours with the accelerated one."""
    try:
        import_deepinv()
    except ImportError as error:
        pytest.skip(str(error))
    tiny = chosen_set(request.config) == "tiny"
    denoiser = NETWORKS[network].build(DEVICE)
    steps = 2 if tiny else PEER_STEPS
    images = smooth_images(1 if tiny else batch, denoiser.image_shape).to(DEVICE)
    mask: Tensor = vf.operators.masks.random_mask(denoiser.image_shape).to(DEVICE)
    theirs = peer(method, denoiser, images, mask, steps)
    fast = ours(method, vf.accelerate(denoiser, "auto"), images, mask, steps)
    slow: list[float] = []
    benchmark.group = "peers"
    try:
        theirs()
        fast()
        benchmark.pedantic(fast, rounds=ROUNDS, teardown=lambda: slow.append(seconds_of(theirs)))
    except torch.OutOfMemoryError:
        pytest.skip(f"{network} at batch {batch} does not fit")
    if benchmark.enabled:
        seconds, baseline = benchmark.stats.stats.median, statistics.median(slow)
        benchmark.extra_info.update(
            machine_record(),
            batch=len(images),
            steps=steps,
            milliseconds_per_step=1e3 * seconds / steps,
            milliseconds_per_step_of_peer=1e3 * baseline / steps,
            speed_up=baseline / seconds,
        )
