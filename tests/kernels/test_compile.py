"""Every kernel, for every dtype and memory format, compiled for sm_90 without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton")

from tests.kernels.cases import ARGUMENTS, arguments
from tests.kernels.sm90 import Binary, compile_only
from tests.ops.helpers import LAYOUTS, NETWORK_DTYPES
from vml_fast.ops.backends import OPS, _implementation, _register_ops

_register_ops()

REGISTERS = 65536
"""Of one multiprocessor of sm_90; a program that needs more of them cannot start."""
SHARED = 227 * 1024

IMAGE = (1, 3, 64, 64)
ODD_IMAGE = (2, 3, 17, 31)
SHAPES = {
    "fwht": [IMAGE, (1, 1, 512, 512)],  # one pass; two passes
    "group_norm_silu_forward": [(1, 64, 16, 16), (1, 128, 64, 64)],  # one tile; slabs
    "group_norm_silu_backward": [(1, 64, 16, 16), (1, 128, 64, 64)],
}
ODD_SHAPES = {
    "group_norm_silu_forward": [(1, 96, 9, 9), (1, 320, 31, 31), (1, 32, 64, 64)],
    "group_norm_silu_backward": [(1, 96, 9, 9), (1, 320, 31, 31), (1, 32, 64, 64)],
}


def compiled(op, shape, dtype, layout, monkeypatch, folder: Path) -> list[Binary]:
    with compile_only(monkeypatch, folder) as binaries:
        _implementation(OPS[op], "triton")(*arguments(op, shape, dtype, LAYOUTS[layout]))
    return binaries


def assert_fits(binaries: list[Binary]) -> None:
    """Something was compiled; nothing spills to memory, and a program fits a multiprocessor."""
    assert binaries
    for binary in binaries:
        assert binary.stack == 0, binary
        assert binary.local == 0, binary
        assert binary.registers * 32 * binary.warps <= REGISTERS, binary
        assert binary.shared <= SHARED, binary


@pytest.mark.parametrize("op", list(ARGUMENTS))
@pytest.mark.parametrize(
    ("dtype", "layout"),
    zip(NETWORK_DTYPES, ["nchw", "channels_last", "nchw", "channels_last"], strict=True),
    ids=map(str, NETWORK_DTYPES),
)
def test_kernels_compile_without_spills(op, dtype, layout, monkeypatch, tmp_path):
    for shape in SHAPES.get(op, [IMAGE]):
        assert_fits(compiled(op, shape, dtype, layout, monkeypatch, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("op", list(ARGUMENTS))
@pytest.mark.parametrize("dtype", NETWORK_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["nchw", "channels_last", "transposed"])
def test_every_dtype_and_format_compiles_without_spills(op, dtype, layout, monkeypatch, tmp_path):
    shapes = SHAPES.get(op, [IMAGE]) + ODD_SHAPES.get(op, [ODD_IMAGE])
    for shape in shapes:
        assert_fits(compiled(op, shape, dtype, layout, monkeypatch, tmp_path))
