"""The ladder of accelerations: plain PyTorch, and what is added to it, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from vml_fast.denoisers.precision import has_fast_bfloat16
from vml_fast.runtime import compiled


class Rung(NamedTuple):
    """One step of the ladder; it keeps what the steps before it added.

    Attributes:
        key: its name as an option.
        label: its name in tables and charts.
        dtype: of the accelerated network; None for the network as it was trained.
        compile: whether the network is compiled.
        cuda_graph: whether the inner step is captured.
    """

    key: str
    label: str
    dtype: str | None = None
    compile: bool = False
    cuda_graph: bool = False

    @property
    def is_reference(self) -> bool:
        """Whether it is `vml_fast.reference`, the before of every ratio."""
        return self.key == REFERENCE


REFERENCE, FUSED, NETWORK, BFLOAT16, COMPILE, GRAPH = KEYS = (
    "reference", "fused", "network", "bfloat16", "compile", "cuda-graph",
)  # fmt: skip


@dataclass(frozen=True)
class Ladder:
    """What can be compared here.

    Attributes:
        rungs: in order, the reference first.
        left_out: key of a rung to the reason why it is not among them.
    """

    rungs: tuple[Rung, ...]
    left_out: dict[str, str]


def ladder(device: torch.device, skip: Sequence[str] = ()) -> Ladder:
    """The rungs that make sense on a device.

    Args:
        device: where the solves run.
        skip: keys to leave out; the reference cannot be.
    """
    reasons = dict.fromkeys(set(skip) - {REFERENCE}, "not asked for")
    if not has_fast_bfloat16(device):
        reasons.setdefault(BFLOAT16, "this device has no fast bfloat16 arithmetic")
    obstacle = compiled.obstacle(device, "vjp")
    if obstacle is not None:
        reasons.setdefault(COMPILE, obstacle)
    if device.type != "cuda":
        reasons.setdefault(GRAPH, "there is no CUDA device")
    dtype = None if NETWORK in reasons else "float32"
    best = dtype if BFLOAT16 in reasons else "bfloat16"
    rungs = (
        Rung(REFERENCE, "plain PyTorch"),
        Rung(FUSED, "+ fused ops"),
        Rung(NETWORK, "+ fused network", dtype),
        Rung(BFLOAT16, "+ bfloat16", best),
        Rung(COMPILE, "+ torch.compile", best, compile=True),
        Rung(GRAPH, "+ CUDA graph", best, compile=COMPILE not in reasons, cuda_graph=True),
    )
    ordered = {key: reasons[key] for key in KEYS if key in reasons}
    return Ladder(tuple(rung for rung in rungs if rung.key not in reasons), ordered)
