"""Every op with a kernel of its own has its file, its settings and its place in both checks."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton")

from vml_fast.kernels.settings import table

from tests.kernels.cases import ARGUMENTS
from vml_fast import kernels
from vml_fast.ops.backends import OPS, _implementation, _register_ops

_register_ops()
FOLDER = Path(kernels.__file__).parent
KERNELS = {name: op for name, op in OPS.items() if not op.is_composed("triton")}


def test_both_checks_know_every_op() -> None:
    """Agreement and compilation walk through ARGUMENTS."""
    assert set(ARGUMENTS) == set(KERNELS)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_every_op_has_its_file(name: str) -> None:
    file = FOLDER / f"{KERNELS[name].home}.py"
    assert f"def {name}(" in file.read_text()
    assert callable(_implementation(KERNELS[name], "triton"))


def test_settings_say_where_they_were_measured_and_cover_every_size() -> None:
    assert table()["measured_on"]
    for rows in table()["ops"].values():
        bounds = [row["up_to"] for row in rows]
        assert bounds[-1] is None
        assert bounds[:-1] == sorted(bounds[:-1])
