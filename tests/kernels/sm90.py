"""Compiles what a launcher would start to an sm_90 binary, without a GPU."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

TARGET = GPUTarget("cuda", 90, 32)
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


@dataclass(frozen=True)
class Binary:
    """What `cuobjdump -res-usage` says about one compiled kernel."""

    name: str
    warps: int
    registers: int
    stack: int
    local: int
    shared: int
    """Dynamic shared memory, as the launcher requests it."""


class _NoDevice:
    """As much of a driver as compiling needs."""

    def get_current_target(self) -> GPUTarget:
        return TARGET

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cuda", 0)


@contextmanager
def compile_only(monkeypatch: Any, folder: Path) -> Iterator[list[Binary]]:
    """Launches inside this context compile their kernel and start nothing.

    Args:
        monkeypatch: pytest's fixture.
        folder: for the compiler's cache and the binaries.

    Yields:
        A list that grows by one entry per launch.
    """
    binaries: list[Binary] = []
    run = JITFunction.run

    def compile_instead(self: Any, *arguments: Any, **options: Any) -> None:
        kernel = run(self, *arguments, **(options | {"warmup": True}))
        kernel = kernel.result() if hasattr(kernel, "result") else kernel
        binaries.append(_inspect(kernel, folder))

    with monkeypatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(folder / "cache"))
        patch.setattr(JITFunction, "run", compile_instead)
        # driver.reset_active() would look for a GPU to go back to.
        patch.setattr(driver, "_active", _NoDevice())
        yield binaries


def _inspect(kernel: Any, folder: Path) -> Binary:
    path = folder / "kernel.cubin"
    path.write_bytes(kernel.asm["cubin"])
    command = [os.fspath(CUOBJDUMP), "-res-usage", os.fspath(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = USAGE.search(text)
    assert found, text
    registers, stack, _, local = (int(number) for number in found.groups())
    meta = kernel.metadata
    return Binary(meta.name, meta.num_warps, registers, stack, local, meta.shared)
