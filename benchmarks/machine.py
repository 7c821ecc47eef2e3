"""The machine that a benchmark runs on: its device, its name, its cache, where its records go."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import torch

from vml_fast.evaluation.machine import device_words
from vml_fast.ops import availability

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RESULTS = Path(__file__).parent / "results"
DEFAULT_CACHE = 2**26
"""Assumed where the system does not tell or tells less, in bytes."""


def backends() -> list[str]:
    """The backends to compare here; Triton's interpreter on a CPU is for tests only."""
    names = [name for name, reason in availability(DEVICE).items() if reason is None]
    return [name for name in names if DEVICE == "cuda" or name != "triton"]


@functools.cache
def device_name() -> str:
    """What the device calls itself, for the records."""
    return device_words(torch.device(DEVICE))


def machine_tag() -> str:
    """Device and torch version as a name for files: records of two machines never mix."""
    version = torch.__version__.partition("+")[0]
    plain = re.sub(r"\((r|tm|c)\)", "", f"{device_name()} torch {version}".lower())
    return re.sub(r"[^a-z0-9.]+", "-", plain).strip("-")


def machine_record() -> dict[str, str]:
    """What every record says about its machine."""
    return {"device": device_name(), "torch": torch.__version__, "kind": DEVICE}


@functools.cache
def cache_bytes() -> int:
    """Size of the last-level cache: what fits into it does not show the speed of the memory."""
    if DEVICE == "cuda":
        return int(torch.cuda.get_device_properties(0).L2_cache_size)
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    found = [DEFAULT_CACHE]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        size = path.read_text(encoding="utf-8").strip()
        found.append(int(size[:-1]) * units[size[-1]])
    return max(found)


if __name__ == "__main__":
    print(machine_tag())
