"""The device that a name stands for."""

from __future__ import annotations

import torch

from vml_fast.errors import InputError


def find_device(name: str | torch.device | None, argument: str = "device") -> torch.device:
    """The device of a name, which this machine has.

    Args:
        name: "auto" (the GPU where there is one), "cpu", "cuda" or "cuda:NUMBER"; None is the CPU.
        argument: what the caller calls it, for the error.

    Raises:
        InputError: no such name, or this machine does not have the device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device("cpu" if name is None else name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"{argument} is '{name}'; it must be auto, cpu, cuda or cuda:NUMBER")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(
            f"{argument} is '{name}', but torch {torch.__version__} sees {count} CUDA devices"
        )
    return device
