"""The precision that a network's weights are stored and multiplied in."""

from __future__ import annotations

import torch

from vml_fast.errors import InputError

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def network_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a name; "auto" is bfloat16 where the device multiplies it fast, else float32.

    Args:
        name: a key of `DTYPES`, or "auto".
        device: where the network runs.

    Returns:
        The dtype.

    Raises:
        InputError: an unknown name.
    """
    if name == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    if name not in tuple(DTYPES):
        raise InputError(f"dtype must be auto, {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic: CUDA from sm_80, a CPU's AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
