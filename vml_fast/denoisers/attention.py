"""Self-attention in the form that is fastest for a forward and a VJP."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from vml_fast.denoisers.fused_norm import in_forward_mode
from vml_fast.errors import InputError

Form = Literal["auto", "sdpa", "matmul"]

FASTEST: dict[tuple[str, torch.dtype], tuple[tuple[int, Form], ...]] = {
    ("cpu", torch.bfloat16): ((4096, "matmul"),),
    ("cpu", torch.float16): ((4096, "matmul"),),
}
"""Device and dtype to (largest number of tokens, form), first match; all else: "sdpa".

Forward + VJP, torch 2.13, 64 to 4096 tokens. CPU float32 (AVX-512, one thread): sdpa takes .4 to
.95 of matmul's time with heads of 48 or 64, and as long as it with one head of 128 to 512. CPU
bfloat16 (AMX): sdpa's backward alone took a third of a whole U-Net step, matmul far less; above
4096 tokens matmul's scores no longer fit. CUDA: not measured; sdpa never stores the scores.
"""


def check_form(form: str) -> Form:
    """The name itself, or one sentence on which names exist."""
    if form not in get_args(Form):
        raise InputError(f"attention must be one of {', '.join(get_args(Form))}, got {form!r}")
    return form  # type: ignore[return-value]


def fastest(device: str, dtype: torch.dtype, tokens: int) -> Form:
    """The form for one kind of device ("cpu", "cuda"), precision and size."""
    for largest, form in FASTEST.get((device, dtype), ()):
        if tokens <= largest:
            return form
    return "sdpa"


def attend(q: Tensor, k: Tensor, v: Tensor, form: Form = "auto") -> Tensor:
    """``softmax(q kᵀ / sqrt(d)) v`` (Vaswani et al. 2017, arXiv 1706.03762, Eq. 1).

    Args:
        q: ``(B, heads, N, d)``.
        k: ``(B, heads, N, d)``.
        v: ``(B, heads, N, d)``.
        form: "sdpa" is torch's ``scaled_dot_product_attention``, "matmul" two products around a
            softmax, which alone has a forward mode and so takes its place there.

    Returns:
        ``(B, heads, N, d)``.
    """
    if form == "auto":
        form = fastest(q.device.type, q.dtype, q.shape[-2])
    if form == "sdpa" and (torch.compiler.is_compiling() or not in_forward_mode(q)):
        return scaled_dot_product_attention(q, k, v)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return scores.softmax(-1) @ v
