"""The held-out emoji that come with the package: images no embedded prior was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.evaluation.images import read_picture

FOLDER = Path(__file__).with_name("emoji64_heldout")


def heldout_emoji(
    names: Sequence[str] | None = None, limit: int | None = None
) -> tuple[list[str], Tensor]:
    """Held-out 64×64 emoji on white.

    Args:
        names: which ones, by code points such as "1f600"; all, sorted by name, by default.
        limit: only the first `limit` of them, at least 1.

    Returns:
        The names, and (B, 3, 64, 64) float32 in [-1, 1].

    Raises:
        InputError: an unknown name, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; it must be at least 1")
    known = sorted(path.stem for path in FOLDER.glob("*.png"))
    if not known:
        raise InputError(f"folder {FOLDER} holds no held-out emoji; reinstall the package")
    chosen = list(known if names is None else names)[:limit]
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise InputError(
            f"names is {unknown or chosen}; allowed are those of the {len(known)} held-out emoji, "
            f"such as {known[0]}"
        )
    return chosen, torch.stack([read_picture(FOLDER / f"{name}.png").pixels for name in chosen])
