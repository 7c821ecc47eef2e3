"""Where a training runs, and in which precision."""

from __future__ import annotations

import torch

from vml_fast.errors import InputError


def choose_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is CUDA where there is one.

    Raises:
        InputError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if torch.device(name).type not in ("cpu", "cuda"):
            raise RuntimeError("training runs on no other kind")
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device must be auto, cpu or cuda, got {name!r} ({reason})") from error


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute the network in bfloat16; ``auto``: where the hardware multiplies it.

    Raises:
        InputError: ``precision`` is not ``auto``, ``float32`` or ``bf16``.
    """
    if precision not in ("auto", "float32", "bf16"):
        raise InputError(f"precision must be auto, float32 or bf16, got {precision!r}")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
