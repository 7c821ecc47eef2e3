"""In which precision a training runs."""

from __future__ import annotations

import torch

from vml_fast.denoisers.precision import has_fast_bfloat16
from vml_fast.errors import InputError


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute the network in bfloat16; ``auto``: where the hardware multiplies it.

    Raises:
        InputError: ``precision`` is not ``auto``, ``float32`` or ``bfloat16``.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise InputError(f"precision must be auto, float32 or bfloat16, got {precision!r}")
    return has_fast_bfloat16(device) if precision == "auto" else precision == "bfloat16"
