"""The CUDA library: it builds, loads and registers without a GPU, and its code is Hopper's."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.kernels.cases import ARGUMENTS, arguments, outputs
from tests.native.builds import CSRC, ROOT, build_library
from tests.ops.helpers import LAYOUTS, channels_last
from vml_fast.ops import OPS, backends, native, resolve

backends._register_ops()
WITH_KERNELS = sorted(name for name, op in OPS.items() if not op.is_composed("cuda"))
"""The ops that CUDA kernels exist for; the others are composed of them."""

BUILD_SECONDS = 120
"""Of processor time, so that other work on the machine does not count."""


def installed() -> Path | None:
    """The library of the install, if it was built from the sources as they are now."""
    library = native.FOLDER / "libvml_fast_cuda.so"
    sources = [ROOT / "CMakeLists.txt", *CSRC.glob("cuda/*.*"), *CSRC.glob("common/*.h")]
    newest = max(path.stat().st_mtime for path in sources)
    return library if library.is_file() and library.stat().st_mtime > newest else None


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed library, or one that is built here."""
    if found := installed():
        return found
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is missing, and the CUDA library is not installed")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    built = build_library("vml_fast_cuda", tmp_path_factory.mktemp("cuda"), "VML_FAST_CUDA=1")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < BUILD_SECONDS
    return built


@pytest.fixture(scope="module")
def cuobjdump() -> Callable[..., str]:
    """Runs the disassembler of the toolkit, or the one that Triton's package brings."""
    triton = pytest.importorskip("triton")
    own = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    tool = shutil.which("cuobjdump") or shutil.which(own)
    if tool is None:
        pytest.skip("cuobjdump is missing")

    def run(*arguments: str | Path) -> str:
        command = [tool, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run


def test_the_library_keeps_to_the_stable_abi(library: Path) -> None:
    audit = shutil.which("torch-abi-audit")
    if audit is None:
        pytest.skip("torch-abi-audit is not installed")
    result = subprocess.run([audit, "--check", "torch", library], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "STABLE" in result.stdout


def test_the_library_exports_nothing(library: Path) -> None:
    tool = shutil.which("nm")
    if tool is None:
        pytest.skip("nm is missing")
    command = [tool, "--dynamic", "--defined-only", library]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == ""


def test_the_library_loads_and_registers_a_kernel_for_every_op(library: Path) -> None:
    """On the CPU build of torch too, which has no CUDA streams. In a process of its own."""
    if reason := native.load_cpu():
        pytest.skip(f"the operators are defined by the C++ library: {reason}")
    code = (
        "import sys, torch\n"
        "from vml_fast.ops import native\n"
        "assert native.load_cpu() is None\n"
        "names = [f'vml_fast::{name}' for name in sys.argv[2:]]\n"
        "registered = torch._C._dispatch_has_kernel_for_dispatch_key\n"
        "assert not any(registered(name, 'CUDA') for name in names)\n"
        "torch.ops.load_library(sys.argv[1])\n"
        "print(*(name for name in names if not registered(name, 'CUDA')))\n"
    )
    command = [sys.executable, "-c", code, str(library), *WITH_KERNELS]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def test_every_kernel_is_compiled_for_hopper(library: Path, cuobjdump: Callable[..., str]) -> None:
    binaries = re.findall(r"(\w+)\.sm_90\.cubin", cuobjdump("--list-elf", library))
    assert sorted(binaries) == sorted(path.stem for path in CSRC.glob("cuda/*.cu"))


def test_no_kernel_spills_registers(library: Path, cuobjdump: Callable[..., str]) -> None:
    """A stack frame is memory that registers were spilled to, or an array indexed at run time."""
    usage = cuobjdump("--dump-resource-usage", library)
    kernels = re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    assert len(kernels) > len(WITH_KERNELS)
    assert [kernel for kernel in kernels if int(kernel[2]) or int(kernel[3])] == []


# --- On a GPU (what the kernels compute: tests/ops and test_cuda_paths.py) -----------------------

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_gpu(given: tuple) -> tuple:
    return tuple(a.cuda() if isinstance(a, Tensor) else a for a in given)


@pytest.mark.parametrize("op", [pytest.param(op, marks=gpu) for op in ARGUMENTS])
@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_ops_run_on_the_current_stream_and_are_captured(op: str, layout: str) -> None:
    """A launch on another stream, or a synchronization, makes the capture fail."""
    place = LAYOUTS[layout]
    given = on_gpu(arguments(op, (2, 3, 16, 20), torch.float32, place))
    expected = [t.clone() for t in outputs(op, resolve(op, "cuda", "cuda"), given)]
    given = on_gpu(arguments(op, (2, 3, 16, 20), torch.float32, place))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = outputs(op, resolve(op, "cuda", "cuda"), given)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("op", [pytest.param(op, marks=gpu) for op in ARGUMENTS])
def test_ops_allocate_their_outputs_and_nothing_else(op: str) -> None:
    given = on_gpu(arguments(op, (2, 32, 64, 64), torch.bfloat16, channels_last))
    call = resolve(op, "cuda", "cuda")
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    result = call(*given)
    allocations = torch.cuda.memory_stats()["allocation.all.allocated"] - before
    assert allocations == (0 if result is None else len(result) if type(result) is tuple else 1)


LAUNCHES = {"fwht": 2, "group_norm_silu_forward": 1, "group_norm_silu_backward": 1}
"""Kernels of one call for the images below; one for the ops that are not named."""


@pytest.mark.parametrize("op", [pytest.param(op, marks=gpu) for op in ARGUMENTS])
def test_an_op_is_one_launch(op: str) -> None:
    """Counted by the profiler; a row of 2^17 takes the Walsh-Hadamard transform two passes."""
    given = on_gpu(arguments(op, (2, 32, 256, 256), torch.bfloat16, channels_last))
    call = resolve(op, "cuda", "cuda")
    call(*given)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call(*given)
        torch.cuda.synchronize()
    kernels = [e for e in profile.events() if "vml_fast::cuda" in e.name]
    assert len(kernels) == LAUNCHES.get(op, 1)


@pytest.mark.slow
@pytest.mark.parametrize("op", [pytest.param("general_bracket", marks=gpu)])
def test_a_sample_of_more_than_2_to_the_31_elements(op: str) -> None:
    """Indices of 64 bits; stride-0 inputs keep the test at the size of its outputs, 26 GB."""
    shape = (1, 1, 1 << 16, (1 << 15) + 4)
    if torch.cuda.mem_get_info()[0] < 30 << 30:
        pytest.skip("needs 30 GB of device memory")
    raw, x, term = (torch.full((), n, device="cuda").expand(shape) for n in (0.5, 2.0, 3.0))
    coefficients = torch.tensor([[0.5, 2.0, 1.0, 0.0, 1.0]], device="cuda")
    v, cotangent = resolve(op, "cuda", "cuda")(raw, x, term, coefficients)
    # D = 0.5 * 2 + 2 * 0.5 = 2, v = 3 + (2 - 2), cotangent = 2 v
    assert v.aminmax() == (3.0, 3.0) and cotangent.aminmax() == (6.0, 6.0)
