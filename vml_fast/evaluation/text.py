"""Text that fits where it stands."""

from __future__ import annotations


def shorten(text: object, length: int) -> str:
    """The text, cut where it has more than `length` characters; a sign stands for the rest."""
    whole = str(text)
    return whole if len(whole) <= length else whole[: length - 1] + "…"
