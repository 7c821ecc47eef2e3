"""The promises of one inner step, each against its baseline in the same minute.

Bracket and update of every operator family against the plain-PyTorch versions and against the copy
bandwidth; the transform families against their FFTs or matrix products alone; GroupNorm + SiLU
against PyTorch's. After every timed round one round of the baseline and one copy are timed, so that
a change of the machine's speed meets all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from benchmarks.cases import Case, chosen_set
from benchmarks.claims import Claim, add_claim
from benchmarks.data import CopyBandwidth, RandomData, coefficients
from benchmarks.gate import Call, Work, check, nbytes
from benchmarks.harness import MakeWork, rotation, time_rotation
from benchmarks.machine import DEVICE, machine_record
from benchmarks.test_block_mean_bracket import work as block_mean
from benchmarks.test_colorization_bracket import work as colorization
from benchmarks.test_general_bracket import work as general
from benchmarks.test_group_norm_silu import both, both_work
from benchmarks.test_mask_bracket import work as mask
from benchmarks.test_separable_bracket import basis
from benchmarks.test_separable_bracket import work as separable
from benchmarks.test_spectral_bracket import work as spectral
from benchmarks.test_walsh_hadamard_bracket import work as walsh_hadamard
from benchmarks.timing import Rotation, how_many, seconds_of
from vml_fast.ops import resolve

SPEED_UP = 2.0
BANDWIDTH_SHARE = {"cpu": 0.60, "cuda": 0.85}
TRANSFORM_SHARE = 1.25
ROUNDS = 15
BATCH = 8
SIDES = {"cpu": (256,), "cuda": (256, 1024)}[DEVICE]
PROMISED_SIDE = {"cpu": 256, "cuda": 1024}[DEVICE]

ELEMENTWISE: dict[str, MakeWork] = {
    "mask": mask,
    "block_mean": block_mean,
    "colorization": colorization,
    "general": general,
}
TRANSFORMS: dict[str, MakeWork] = {
    "spectral": spectral,
    "spectral with prior": partial(spectral, prior=True),
    "separable": separable,
    "separable with prior": partial(separable, prior=True),
    "separable bicubic": partial(separable, factor=4),
    "walsh_hadamard": walsh_hadamard,
    "walsh_hadamard with prior": partial(walsh_hadamard, prior=True),
}


class Operands(NamedTuple):
    """Of one inner step: the bracket's arguments (F and x first), g, u, and c_skip, c_in."""

    bracket: tuple[Any, ...]
    gradient: Tensor
    u: Tensor
    step: Tensor

    @property
    def x(self) -> Tensor:
        """The state, which the update overwrites."""
        return self.bracket[1]


def operands(make: MakeWork, case: Case, data: RandomData) -> Operands:
    """One set, with a state and a network input of their own, since both are overwritten."""
    raw, x, *rest = make(case, data).arguments
    gradient = data.network(case)
    step = coefficients(case.batch, columns=2)
    return Operands((raw, x.clone(), *rest), gradient, gradient.clone(), step)


def moved_bytes(given: Operands) -> int:
    """The fewest bytes of bracket and update: the network runs between them and fills the cache."""
    raw, x = given.bracket[:2]
    bracket = nbytes(given.bracket) + nbytes((x, raw))
    return bracket + nbytes((x, x, given.gradient)) + nbytes((x, given.u))


class InnerStep:
    """Bracket and update of a backend, without the network between them.

    The network's forward and backward pass would drive v out of the cache before the update reads
    it, so the update is given a v of its own, as old as its other operands.
    """

    def __init__(self, op: str, backend: str, sets: list[Operands]) -> None:
        self.bracket = resolve(op, backend, DEVICE)
        self.update = resolve("update", backend, DEVICE)
        self.sets = sets
        self.v = [self.bracket(*given.bracket)[0] for given in sets]

    def __call__(self, i: int) -> tuple[Tensor, Tensor]:
        """One turn."""
        given = self.sets[i]
        self.update(given.x, self.v[i], given.gradient, given.u, given.step)
        return self.bracket(*given.bracket)


class Comparison:
    """Times a rotation with pytest-benchmark, and a baseline and the copy between its rounds."""

    def __init__(self, benchmark: Any, copy: CopyBandwidth, group: str) -> None:
        self.benchmark = benchmark
        self.copy = copy
        benchmark.group = group
        benchmark.extra_info.update(machine_record())

    def run(self, fast: Rotation, baseline: Rotation) -> None:
        """Time both."""
        slow: list[float] = []
        bandwidths: list[float] = []
        if self.benchmark.enabled:
            _, calls = baseline.plan()

        def after_round() -> None:
            slow.append(seconds_of(baseline, calls))
            bandwidths.append(self.copy.sample())

        time_rotation(self.benchmark, fast, most_rounds=ROUNDS, after_round=after_round)
        if self.benchmark.enabled:
            self.seconds = self.benchmark.stats.stats.median
            self.baseline = statistics.median(slow)
            self.bandwidth = statistics.median(bandwidths)
            self.benchmark.extra_info["baseline_seconds"] = self.baseline
            self.benchmark.extra_info["copy_gigabytes_per_second"] = self.bandwidth / 1e9

    def claim(self, text: str, value: float, bound: Any, wanted: float) -> None:
        """Note a promise."""
        add_claim(self.benchmark.extra_info, Claim(text, value, bound, wanted))


@pytest.fixture
def compare(benchmark: Any, copy_bandwidth: CopyBandwidth) -> Callable[[str], Comparison]:
    """A comparison under a group's name."""
    return lambda group: Comparison(benchmark, copy_bandwidth, group)


@pytest.fixture
def step_case(size: int, request: pytest.FixtureRequest) -> Case:
    """Batch 8 in float32."""
    tiny = chosen_set(request.config) == "tiny"
    return Case(16 if tiny else size, BATCH, "float32", "nchw")


def checked(op: str, work: Work) -> None:
    """The gate, for the backend that "auto" takes."""
    check(resolve(op, "auto", DEVICE), resolve(op, "reference", DEVICE), work)


def steps(op: str, make: MakeWork, case: Case, data: RandomData, timed: bool) -> list[Rotation]:
    """The inner step on the fastest backend and on the reference."""
    first = operands(make, case, data)
    count = how_many(data.covered, moved_bytes(first), 0.0) if timed else 2
    sets = [first, *(operands(make, case, data) for _ in range(count - 1))]
    return [Rotation(InnerStep(op, backend, sets), count) for backend in ("auto", "reference")]


def conditions(case: Case) -> str:
    """For the text of a promise."""
    return f"{case.size}², batch {case.batch}, {case.dtype}"


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("family", [*ELEMENTWISE, *TRANSFORMS])
def test_inner_step(
    compare: Callable[[str], Comparison], family: str, step_case: Case, data: RandomData
) -> None:
    op = family.partition(" ")[0] + "_bracket"
    make = ELEMENTWISE.get(family) or TRANSFORMS[family]
    checked(op, make(step_case, data))
    comparison = compare("inner step")
    timed = comparison.benchmark.enabled
    comparison.run(*steps(op, make, step_case, data, timed))
    if not timed:
        return
    speed_up = comparison.baseline / comparison.seconds
    share = moved_bytes(operands(make, step_case, data)) / comparison.seconds / comparison.bandwidth
    info = comparison.benchmark.extra_info
    info.update(size=step_case.size, speed_up=speed_up, share_of_copy_bandwidth=share)
    if family in ELEMENTWISE:
        what = f"bracket + update, {family}, {conditions(step_case)}"
        comparison.claim(f"{what}: speed-up over plain PyTorch", speed_up, "at least", SPEED_UP)
        if step_case.size == PROMISED_SIDE:
            wanted = BANDWIDTH_SHARE[DEVICE]
            comparison.claim(f"{what}: share of the copy bandwidth", share, "at least", wanted)


def ffts(planes: Tensor) -> Tensor:
    """The transforms of the spectral bracket: there for all planes, back for the first."""
    spectrum = torch.fft.rfft2(planes, norm="ortho")
    return torch.fft.irfft2(spectrum[0], s=planes.shape[-2:], norm="ortho")


def products(planes: Tensor, v: Tensor) -> Tensor:
    """The transforms of the separable bracket, likewise."""
    z = torch.matmul(v.T, planes @ v)
    return torch.matmul(v, z[0] @ v.T)


def planes_work(case: Case, data: RandomData, family: str) -> Work:
    """What the transforms alone are given."""
    planes = data.normal((2 if "prior" in family else 1, *case.shape))
    if family.startswith("spectral"):
        return Work((planes,))
    rank = case.size // 4 if "bicubic" in family else case.size
    return Work((planes, basis(case.size, rank)))


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("family", [name for name in TRANSFORMS if "walsh" not in name])
def test_transforms(
    compare: Callable[[str], Comparison], family: str, step_case: Case, data: RandomData
) -> None:
    op = family.partition(" ")[0] + "_bracket"
    alone: Call = ffts if op == "spectral_bracket" else products
    make = TRANSFORMS[family]
    comparison = compare("transforms")
    timed = comparison.benchmark.enabled
    fast = rotation(resolve(op, "auto", DEVICE), lambda: make(step_case, data), data, timed=timed)
    baseline = rotation(alone, lambda: planes_work(step_case, data, family), data, timed=timed)
    comparison.run(fast, baseline)
    if timed:
        kind = "FFTs" if op == "spectral_bracket" else "matrix products"
        comparison.claim(
            f"bracket, {family}, {conditions(step_case)}: time over its {kind} alone",
            comparison.seconds / comparison.baseline,
            "at most",
            TRANSFORM_SHARE,
        )


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("memory_format", ["nchw", "channels_last"])
def test_group_norm_silu_step(
    compare: Callable[[str], Comparison], step_case: Case, memory_format: str, data: RandomData
) -> None:
    case = step_case._replace(dtype="bfloat16", memory_format=memory_format)
    comparison = compare("GroupNorm + SiLU")
    timed = comparison.benchmark.enabled

    def make() -> Work:
        return both_work(case, data, film=False)

    fast, slow = (both(resolve("group_norm_silu", name, DEVICE)) for name in ("auto", "reference"))
    check(fast, slow, make())
    comparison.run(*(rotation(call, make, data, timed=timed) for call in (fast, slow)))
    if not timed:
        return
    speed_up = comparison.baseline / comparison.seconds
    comparison.benchmark.extra_info.update(speed_up=speed_up)
    b, c, h, w = make().arguments[0].shape
    layout = "channels-last" if memory_format == "channels_last" else "NCHW"
    comparison.claim(
        f"GroupNorm + SiLU, forward + dX, {b}×{c}×{h}×{w} {layout}, bfloat16: "
        "speed-up over PyTorch",
        speed_up,
        "at least",
        SPEED_UP,
    )
