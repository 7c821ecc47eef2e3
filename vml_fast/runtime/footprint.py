"""How much memory an inner step takes, measured, and how many images fit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vml_fast.runtime.cache import SharedCache
from vml_fast.runtime.network import Denoiser, Network, scalings_at

SHARE = 0.8
"""Of the free memory that a batch may take; the rest is for what is not measured here."""

WORTH_MEASURING = 20_000
"""A batch is measured where its images times this do not fit. The largest networks in use take a
few thousand times an image, so smaller batches fit without a trial."""

UNKNOWN = 2**62
"""Bytes, where nothing says how many there are."""


def largest_batch(
    denoiser: Denoiser,
    like: Tensor,
    jacobian: str,
    condition: Mapping[str, Any],
    owner: object = None,
) -> int:
    """How many images of a batch fit into memory together.

    The peaks of an inner step for one and for two images give what an image takes; they are
    measured once per owner, image shape and Jacobian product, and not while torch.profiler records
    on the CPU, since a process has one profiler.

    Args:
        denoiser: D.
        like: (B, C, H, W) images.
        jacobian: the product that will be taken; "none" for a forward alone.
        condition: keywords of the denoiser; tensors with B rows are per image.
        owner: what the peaks are kept for; by default the denoiser.

    Returns:
        At least 1; B where all fit.
    """
    free = SHARE * free_memory(like.device)
    batch, image = len(like), like[0].numel() * like.element_size()
    if batch <= 1 or batch * image * WORTH_MEASURING <= free:
        return batch
    if not like.is_cuda and torch.autograd._profiler_enabled():
        return batch
    key = (tuple(like.shape[1:]), like.dtype, like.device, jacobian)

    def measure() -> tuple[int, int]:
        return measured_peaks(denoiser, like[:2], jacobian, rows(condition, slice(2), batch))

    one, two = _peaks.get(denoiser if owner is None else owner, key, measure)
    # A library may take another path for one image, with more memory than for two.
    each = max(two - one if two > one else two // 2, image)
    return max(1, min(batch, int((free - (one - each)) // each)))


_peaks: SharedCache[tuple[int, int]] = SharedCache(64)


def rows(condition: Mapping[str, Any], part: slice, batch: int) -> dict[str, Any]:
    """The keywords of a part of a batch: of tensors with `batch` rows, those of the part."""
    return {
        name: value[part]
        if isinstance(value, Tensor) and value.ndim and len(value) == batch
        else value
        for name, value in condition.items()
    }


def measured_peaks(
    denoiser: Denoiser, two: Tensor, jacobian: str, condition: Mapping[str, Any]
) -> tuple[int, int]:
    """Bytes that a forward and a Jacobian product take at their peak, for one image and for two.

    Args:
        denoiser: D.
        two: (2, C, H, W).
        jacobian: "vjp", "jvp", "finite_difference" or "none".
        condition: its keywords for two images.
    """
    peak = _peak_cuda if two.is_cuda else _peak_cpu
    one, both = (
        peak(_Trial(denoiser, two[:count], jacobian, rows(condition, slice(count), 2)))
        for count in (1, 2)
    )
    return one, both


class _Trial:
    """A forward, and a Jacobian product where one is taken, at noise level 1."""

    def __init__(
        self, denoiser: Denoiser, like: Tensor, jacobian: str, condition: Mapping[str, Any]
    ) -> None:
        self.network = Network(denoiser, jacobian)
        self.has_product = jacobian != "none"
        self.network.load(condition)
        self.device = like.device
        scalings = scalings_at(denoiser, like.new_ones(len(like)))
        self.network.set_level(scalings.noise, scalings.input, 1.0, like[0].numel())
        self.u = torch.zeros_like(like, dtype=self.network.dtype or like.dtype)

    def __call__(self) -> None:
        if not self.has_product:
            with torch.no_grad():
                self.network(self.u)
            return
        output, product = self.network.linearize(self.u)
        product(torch.ones_like(output))


def _peak_cuda(trial: _Trial) -> int:
    trial()  # what libraries keep from their first call is no part of the peak
    torch.cuda.synchronize(trial.device)
    torch.cuda.reset_peak_memory_stats(trial.device)
    before = torch.cuda.memory_allocated(trial.device)
    trial()
    return torch.cuda.max_memory_allocated(trial.device) - before


def _peak_cpu(trial: _Trial) -> int:
    """From the profiler's list of allocations; the libraries' own workspaces are not in it."""
    trial()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with (
        _silent_stderr(),
        torch.profiler.profile(activities=activities, profile_memory=True) as profile,
    ):
        trial()
    assert profile.profiler is not None and profile.profiler.kineto_results is not None
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """The profiler's library tells stderr when it starts and stops, and nothing turns that off."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated: of the device with torch's own reserve, or of this process."""
    if device.type == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserve
    return min(_free_of_the_machine(), _free_of_the_group())


def _free_of_the_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # no Linux
        return UNKNOWN
    available = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(available[0]) if available else UNKNOWN


def _free_of_the_group() -> int:
    """What the control group (a container's limit) leaves; its file cache gives way."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = (
            int((folder / name).read_text(encoding="ascii"))
            for name in ("memory.max", "memory.current")
        )
        statistics = (folder / "memory.stat").read_text(encoding="ascii").split()
    except (OSError, ValueError):  # no such group, or no limit: "max"
        return UNKNOWN
    cache = dict(zip(statistics[::2], statistics[1::2], strict=True)).get("inactive_file", "0")
    return max(0, limit - used + int(cache))
