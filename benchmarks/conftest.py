"""Options, cases and fixtures of the benchmarks.

pytest benchmarks                              every case once, tiny: a smoke test
pytest benchmarks --benchmark-enable           timed, on the default cases
pytest benchmarks --benchmark-enable --full    timed, on all of them

`python -m benchmarks.run` does it with a record per machine, which `python -m benchmarks.report`
turns into tables and pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.cases import (
    PARAMETERS,
    Case,
    cases,
    chosen_set,
    every_format,
    of_the_state,
    planar,
)
from benchmarks.data import CopyBandwidth, RandomData, rotated_bytes
from benchmarks.harness import OpBenchmark
from benchmarks.machine import DEVICE, backends, machine_record
from benchmarks.timing import clock

STATISTICS = ("median", "iqr", "min", "rounds", "iterations")
"""What a record keeps of each case; single timings would make it a hundred times larger."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of cases."""
    group = parser.getgroup("benchmark cases")
    group.addoption("--full", action="store_true", help="time the whole grid of cases")
    group.addoption("--tiny", action="store_true", help="time tiny cases, to try the benchmarks")


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers of this folder."""
    config.addinivalue_line("markers", "state_only: the op sees no tensor of the network")
    config.addinivalue_line("markers", "every_format: dtype and memory format decide the ranking")
    config.addinivalue_line("markers", "planar: nor any image, so that layouts do not matter")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every op benchmark over backends and cases."""
    if "case" not in metafunc.fixturenames or "backend" not in metafunc.fixturenames:
        return
    chosen = cases(chosen_set(metafunc.config), DEVICE)
    if metafunc.definition.get_closest_marker("state_only"):
        chosen = of_the_state(chosen)
    if metafunc.definition.get_closest_marker("every_format"):
        chosen = every_format(chosen)
    if metafunc.definition.get_closest_marker("planar"):
        chosen = planar(chosen)
    metafunc.parametrize(PARAMETERS, chosen, ids=["-".join(map(str, case)) for case in chosen])
    metafunc.parametrize("backend", backends())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time by the device's own clock."""
    for item in items:
        if "benchmark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.benchmark(timer=clock, disable_gc=True))


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]
) -> None:
    """Keep what tables need: the machine by name, and a few statistics of every case."""
    commit = output_json["commit_info"]
    output_json["commit_info"] = {key: commit.get(key) for key in ("id", "time", "dirty")}
    output_json["machine_info"] = machine_record()
    for entry in output_json["benchmarks"]:
        entry["stats"] = {name: entry["stats"][name] for name in STATISTICS}
        for name in ("options", "fullname", "param"):
            entry.pop(name, None)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    """The ops are never differentiated, GroupNorm apart."""
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def data(request: pytest.FixtureRequest) -> RandomData:
    """Operands; together they cover twice the last-level cache."""
    return RandomData(rotated_bytes(chosen_set(request.config) == "tiny"))


@pytest.fixture(scope="session")
def copy_bandwidth(request: pytest.FixtureRequest) -> CopyBandwidth:
    """The speed of a plain copy, measured once in a run."""
    return CopyBandwidth(rotated_bytes(chosen_set(request.config) == "tiny"))


@pytest.fixture
def case(size: int, batch: int, dtype: str, memory_format: str) -> Case:
    """The parameters as one value."""
    return Case(size, batch, dtype, memory_format)


@pytest.fixture
def op_benchmark(
    benchmark: Any, backend: str, case: Case, data: RandomData, copy_bandwidth: CopyBandwidth
) -> OpBenchmark:
    """Checks and times one op."""
    return OpBenchmark(benchmark, backend, case, data, copy_bandwidth)
