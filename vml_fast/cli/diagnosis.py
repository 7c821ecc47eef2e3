"""What `vml-fast doctor` finds out and prints."""

from __future__ import annotations

import os
import platform

import torch
from rich.console import Console
from rich.text import Text

from vml_fast.cli.environment import package_versions
from vml_fast.cli.tables import print_table
from vml_fast.denoisers.loading import EMBEDDED, PRIORS
from vml_fast.evaluation.machine import processor_name
from vml_fast.ops.backends import availability
from vml_fast.ops.fastest import measured_on, summary

SPEED_FEATURES = ("avx", "amx", "fma", "f16c", "neon", "asimd", "sve", "bf16", "i8mm")
"""Prefixes of the instruction sets that decide how fast a restoration is."""
YES, NO = "green", "yellow"

Row = tuple[str, str, str]
"""Name, finding, and the finding's style."""


def version_rows() -> list[Row]:
    """Python and the packages that matter here."""
    rows: list[Row] = [("python", platform.python_version(), "")]
    for name, found in package_versions().items():
        rows.append((name, found or "not installed", "" if found else NO))
    return rows


def processor_rows() -> list[Row]:
    """The processor, its threads and its instruction sets."""
    known = torch.cpu.get_capabilities().items()
    features = sorted(name for name, has in known if has and name.startswith(SPEED_FEATURES))
    threads = f"{torch.get_num_threads()} used by torch, {os.cpu_count()} in all"
    return [
        ("processor", processor_name(), ""),
        ("threads", threads, ""),
        ("features", ", ".join(features) or "none that torch knows", ""),
        ("torch uses", torch.backends.cpu.get_cpu_capability(), ""),
    ]


def gpu_rows() -> list[Row]:
    """One row per GPU, or why there is none."""
    count = torch.cuda.device_count()
    if count == 0:
        built = torch.version.cuda
        why = "torch sees none" if built else "this torch is a CPU build"
        return [("GPUs", f"none: {why}", NO)]
    rows: list[Row] = []
    for index in range(count):
        gpu = torch.cuda.get_device_properties(index)
        memory = f"{gpu.total_memory / 2**30:.0f} GiB, sm_{gpu.major}{gpu.minor}"
        rows.append((f"cuda:{index}", f"{gpu.name}, {memory}", ""))
    return rows


def backend_rows() -> list[Row]:
    """Each backend: available, or why not; and by which measurements "auto" chooses."""
    rows: list[Row] = []
    for name, reason in availability().items():
        rows.append((name, "available" if reason is None else reason, NO if reason else YES))
    for kind in ("cpu", "cuda"):
        rows.append((f"auto on {kind}", f"{summary(kind)}; {measured_on(kind)}", ""))
    wish = os.environ.get("VML_FAST_BACKEND")
    return rows if wish is None else [*rows, ("VML_FAST_BACKEND", wish, "")]


def prior_rows() -> list[Row]:
    """The priors that come with the package."""
    rows: list[Row] = []
    for name in EMBEDDED:
        size = sum(path.stat().st_size for path in (PRIORS / name).rglob("*.safetensors"))
        rows.append((name, f"{size / 2**20:.1f} MiB", ""))
    return rows or [("priors", "none in this installation", NO)]


def print_diagnosis() -> None:
    """Print every section as a small table."""
    console = Console()
    sections = {
        "Versions": version_rows(),
        "Processor": processor_rows(),
        "GPUs": gpu_rows(),
        "Backends": backend_rows(),
        "Embedded priors": prior_rows(),
    }
    for title, rows in sections.items():
        cells = [(f"  {name}", Text(finding, style=style)) for name, finding, style in rows]
        print_table(console, title, (), cells)
