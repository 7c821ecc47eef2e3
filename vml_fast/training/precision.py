"""In which precision a training runs."""

from __future__ import annotations

import torch

from vml_fast.errors import InputError


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
