"""The CUDA kernels run on the CPU: their arithmetic and indices, tested where there is no GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.native.builds import CSRC, build_library, run_op_tests

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels themselves run here"),
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="CUDA's headers come with nvcc"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """csrc/cuda compiled as C++ with cuda_emulation.h, its kernels registered for CPU tensors."""
    folder = tmp_path_factory.mktemp("emulated")
    return build_library("vml_fast_emulated", folder, "VML_FAST_EMULATE=ON")


def test_kernels_agree_with_the_references(library: Path) -> None:
    """UBSan is on: a misaligned vector or an index out of an array ends the run."""
    result = run_op_tests(
        library,
        "not opcheck",
        "tests/native/test_cuda_paths.py",
        VML_FAST_TEST_COMPOSED="1",
        UBSAN_OPTIONS="print_stacktrace=1",
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    assert " passed" in result.stdout


def test_the_emulated_library_is_made_of_the_cuda_files(library: Path) -> None:
    """So that the test above tests the kernels of csrc/cuda and nothing else."""
    code = (
        "import sys, torch\n"
        "torch.ops.load_library(sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    registered = [op for op in torch._C._dispatch_get_all_op_names()\n"
        "                  if op.startswith(f'vml_fast::{name}')]\n"
        "    assert registered, name\n"
        "    for op in registered:\n"
        "        assert 'csrc/cuda/bindings.cpp' in torch._C._dispatch_dump(op), op\n"
    )
    names = [path.stem for path in sorted((CSRC / "cuda").glob("*.cu"))]
    subprocess.run([sys.executable, "-c", code, str(library), *names], check=True)
