"""Where a run happens: device, versions, and what its input files were."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from vml_fast.errors import BackendUnavailable
from vml_fast.evaluation.machine import device_name
from vml_fast.ops import backends

PACKAGES = (
    "vml-fast", "torch", "triton", "diffusers", "safetensors", "numpy", "pillow", "matplotlib",
    "torchmetrics", "scipy", "nvtx", "typer", "cupy-cuda13x", "deepinv",
)  # fmt: skip


def check_backend(name: str, device: torch.device) -> None:
    """Raise unless the compiled ops of this name can run on the device.

    Raises:
        InputError: no such name.
        BackendUnavailable: it cannot run; the message says why.
    """
    wanted = backends.check_backend(name)
    reason = None if wanted == "auto" else backends.availability(device)[wanted]
    if reason is not None:
        raise BackendUnavailable(f"--backend {wanted} cannot run on {device}: {reason}")


def package_versions() -> dict[str, str | None]:
    """Version of each package that matters here; None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def execution(device: torch.device) -> dict[str, object]:
    """Device and versions, for the record of a run."""
    return {
        "device": str(device),
        "device_name": device_name(device),
        "python": platform.python_version(),
        "versions": {k: v for k, v in package_versions().items() if v is not None},
    }


def file_digest(path: Path) -> dict[str, str]:
    """Name and content of a file, so that a resumed run is known to have the same."""
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
