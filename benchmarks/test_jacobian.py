"""The three products with the Jacobian side by side: time and memory of an inner step, and images.

Every product runs in eager PyTorch with the plain network; rounds alternate with "vjp". `vml-fast
evaluate` compares their quality.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.cases import chosen_set
from benchmarks.claims import Claim, add_claim
from benchmarks.machine import DEVICE, machine_record
from benchmarks.networks import NETWORKS
from benchmarks.timing import seconds_of
from vml_fast.evaluation.memory import in_use, peak_bytes
from vml_fast.evaluation.throughput import relative_difference
from vml_fast.evaluation.workload import make_workload
from vml_fast.runtime.jacobian import JACOBIANS

pytest.importorskip("diffusers")

ROUNDS = 3
SIZES = [("emoji64", 8), ("dps-ffhq256", 8)] if DEVICE == "cuda" else [("emoji64", 8)]


@pytest.fixture(autouse=True)
def with_gradients() -> Iterator[None]:
    """What is timed here takes derivatives."""
    with torch.enable_grad():
        yield


@pytest.mark.parametrize("product", JACOBIANS)
@pytest.mark.parametrize(("network", "batch"), SIZES)
def test_jacobian(
    benchmark: Any, request: pytest.FixtureRequest, network: str, batch: int, product: str
) -> None:
    tiny = chosen_set(request.config) == "tiny"
    workload = make_workload(
        NETWORKS[network].build(DEVICE),
        "sr4",
        batch=1 if tiny else batch,
        steps=1,
        inner_steps=1 if tiny else 5,
    )
    exact, solver = (
        workload.solver(jacobian=name, compile=False, cuda_graph=False) for name in ("vjp", product)
    )
    images = solver.solve(workload.y).image
    difference = relative_difference(images, exact.solve(workload.y).image)
    assert difference < 0.2  # the network's Jacobian is symmetric only about as far as it is exact
    device = workload.y.device
    memory = {}
    for name, chosen in (("vjp", exact), (product, solver)):
        before = in_use(device)
        peak = peak_bytes(lambda chosen=chosen: chosen.solve(workload.y), device)
        memory[name] = None if before is None or peak is None else peak - before
    slow: list[float] = []
    benchmark.group = "jacobian"
    benchmark.pedantic(
        lambda: solver.solve(workload.y),
        rounds=ROUNDS,
        teardown=lambda: slow.append(seconds_of(lambda: exact.solve(workload.y))),
    )
    if not benchmark.enabled:
        return
    seconds, baseline = benchmark.stats.stats.median, statistics.median(slow)
    benchmark.extra_info.update(
        machine_record(),
        batch=workload.batch,
        milliseconds_per_inner_step=1e3 * seconds / workload.inner_steps,
        time_over_vjp=seconds / baseline,
        extra_bytes=memory[product],
        extra_bytes_of_vjp=memory["vjp"],
        difference=difference,
    )
    if product == "finite_difference" and memory[product] and memory["vjp"]:
        text = f"memory of finite_difference over vjp, {network}, batch {batch}"
        ratio = memory[product] / memory["vjp"]
        add_claim(benchmark.extra_info, Claim(text, ratio, "at most", 1.0))
