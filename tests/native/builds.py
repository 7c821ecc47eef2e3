"""Builds variants of the native library and runs the op tests on them, in their own process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"


def compiler() -> str:
    """A C++ compiler, or the test is skipped."""
    found = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
    if found is None or shutil.which("cmake") is None:
        pytest.skip("no C++ compiler or no cmake")
    return found


def build_library(name: str, folder: Path, *options: str) -> Path:
    """One library by CMakeLists.txt with some of its options, as `NAME=VALUE`; its path."""
    compiler()
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    definitions = [f"-D{option}" for option in ("VML_FAST_CUDA=0", *options)]
    python = f"-DPython_EXECUTABLE={sys.executable}"
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(folder), *generator, python, *definitions],
        ["cmake", "--build", str(folder), "--target", name, "--parallel", "2"],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    return folder / f"lib{name}.so"


def run_op_tests(
    library: Path, selection: str, *others: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """tests/ops and others with the library in place of the installed one.

    See tests/ops/conftest.py.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", selection]
    return subprocess.run(
        [*command, "tests/ops", *others],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "VML_FAST_TEST_LIBRARY": str(library),
            **environment,
        },
    )
