"""What is promised, as numbers beside what was measured."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple


class Claim(NamedTuple):
    """One promise about speed and how it turned out.

    Attributes:
        text: what is compared, and under which conditions.
        value: measured.
        bound: whether the value must be at least or at most `wanted`.
        wanted: the promise.
    """

    text: str
    value: float
    bound: Literal["at least", "at most"]
    wanted: float

    @property
    def met(self) -> bool:
        """Whether the promise holds."""
        if self.bound == "at least":
            return self.value >= self.wanted
        return self.value <= self.wanted


def add_claim(info: dict[str, Any], claim: Claim) -> None:
    """Write a claim into the record of a benchmark."""
    info.setdefault("claims", []).append(claim._asdict())
