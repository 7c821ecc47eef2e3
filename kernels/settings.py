"""Launch settings from `settings.json`, which says on which device they were measured.

Nothing is tuned while a solver runs: a row of the table is looked up by the size of one image.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "settings.json"


def settings(op: str, elements: int) -> dict[str, int]:
    """The launch settings of an op for images of C * H * W = `elements`.

    Args:
        op: a key of the table.
        elements: of one image (for `fwht`: the length of the transform).

    Returns:
        The first row of the op that reaches up to this size, without its bound `up_to`.
    """
    for row in table()["ops"][op]:
        bound = row.get("up_to")
        if bound is None or elements <= bound:
            return {key: value for key, value in row.items() if key != "up_to"}
    raise KeyError(f"settings.json: no row of {op} has up_to null")


@functools.cache
def table() -> dict[str, Any]:
    """The whole table, with the device that it was measured on."""
    return json.loads(FILE.read_text(encoding="utf-8"))
