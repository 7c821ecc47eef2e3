"""The Python of the README runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_first_python_block_runs() -> None:
    text = README.read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    code = block[1].replace("images[:4]", "images[:1]")
    assert code != block[1]
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)
    first, second = names["result"], names["solver"]
    assert first.image.shape == (1, 3, 64, 64)  # type: ignore[attr-defined]
    assert second.steps == 20  # type: ignore[attr-defined]
