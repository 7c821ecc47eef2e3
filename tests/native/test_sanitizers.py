"""The C++ ops under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.native.builds import build_library, compiler, run_op_tests


def runtime(name: str) -> str:
    """Where the compiler keeps a sanitizer's library; it must be loaded before Python's own."""
    found = subprocess.run(
        [compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip(f"the compiler has no {name}")
    return found


@pytest.mark.slow
def test_no_op_reads_or_writes_outside_its_tensors(tmp_path: Path) -> None:
    preload = f"{runtime('libasan.so')} {runtime('libubsan.so')}"
    library = build_library("vml_fast_cpu", tmp_path, "VML_FAST_SANITIZE=ON")
    result = run_op_tests(
        library,
        "not opcheck and not standard_normal",
        LD_PRELOAD=preload,
        # Python keeps memory until it exits, so leaks are not the question here.
        ASAN_OPTIONS="detect_leaks=0",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    assert " passed" in result.stdout
    assert "runtime error" not in result.stderr
