"""Every op has its five places; backends are chosen, refused and replaced as documented."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import vml_fast as vf
from tests.ops import helpers
from tests.ops.helpers import kernels
from tests.solvers.problems import problem
from vml_fast.errors import BackendUnavailable, InputError
from vml_fast.ops import BACKENDS, OPS, availability, backends, fastest, native, resolve

pytestmark = pytest.mark.skipif(
    "VML_FAST_TEST_LIBRARY" in os.environ, reason="another build of the ops is being tested"
)

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"cpp": "csrc/cpu/{}.cpp", "cuda": "csrc/cuda/{}.cu", "triton": "kernels/{}.py"}
"""Where a backend keeps an op."""

NOT_OPS = {"__init__", "backends", "coefficients", "fastest", "native", "philox"}
"""Files of vml_fast/ops that serve the ops."""

backends._register_ops()
walk = pytest.mark.parametrize("name", sorted(OPS))
cpp = pytest.mark.skipif(availability()["cpp"] is not None, reason=str(availability()["cpp"]))


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# --- The five-places rule ----------------------------------------------------------------------


@walk
def test_an_op_has_its_name_in_all_its_places(name: str) -> None:
    """Reference, Triton, C++, CUDA, test, benchmark; a composition has kernels where it says so."""
    op = OPS[name]
    places = {
        f"vml_fast/ops/{op.home}.py": f"def {name}(",
        f"tests/ops/test_{op.home}.py": name,
        f"benchmarks/test_{op.home}.py": op.home,
    }
    for backend, file in FOLDERS.items():
        if not op.is_composed(backend):
            places[file.format(op.home)] = f"{name}("
    missing = [file for file in places if not (ROOT / file).is_file()]
    assert not missing
    assert [file for file, mention in places.items() if mention not in text(file)] == []


@walk
def test_an_op_has_a_schema_where_it_is_compiled(name: str) -> None:
    compiled = any(not OPS[name].is_composed(backend) for backend in ("cpp", "cuda"))
    assert (f'"{name}(' in text("csrc/schemas.cpp")) == compiled
    assert (OPS[name].fake is not None) == compiled


def test_nothing_is_compiled_that_is_not_an_op() -> None:
    schemas = re.findall(r'"(\w+)\(', text("csrc/schemas.cpp"))
    assert sorted(schemas) == sorted(set(schemas)) and set(schemas) <= set(OPS)
    for backend, registers in (
        ("cpp", r'm\.impl\("(\w+)"'),
        ("cuda", r'm\.impl\("(\w+)"'),
        ("triton", r"@operator\([^@]*?\)\ndef (\w+)\("),
    ):
        sources = (ROOT / FOLDERS[backend]).parent.glob("*.*")
        texts = [path.read_text(encoding="utf-8") for path in sources]
        registered = sorted(name for source in texts for name in re.findall(registers, source))
        assert registered == sorted(n for n, op in OPS.items() if not op.is_composed(backend))


def test_every_file_of_the_folder_registers_an_op() -> None:
    files = {path.stem for path in (ROOT / "vml_fast/ops").glob("*.py")}
    assert files - NOT_OPS == {op.home for op in OPS.values()}


@cpp
@walk
def test_schemas_name_the_arguments_of_the_references(name: str) -> None:
    if OPS[name].is_composed("cpp"):
        pytest.skip("no schema")
    schema = getattr(torch.ops.vml_fast, name).default._schema
    assert [a.name for a in schema.arguments] == list(
        inspect.signature(OPS[name].reference).parameters
    )


@cpp
@walk
@pytest.mark.parametrize(("backend", "key"), [("cpp", "CPU"), ("cuda", "CUDA")])
def test_the_libraries_implement_their_ops(name: str, backend: str, key: str) -> None:
    """The CUDA library loads and registers without a GPU."""
    if backend == "cuda" and (reason := native.load_cuda()):
        pytest.skip(reason)
    if not OPS[name].is_composed(backend):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"vml_fast::{name}", key)


# --- What runs here ----------------------------------------------------------------------------


def test_a_library_that_was_built_loads() -> None:
    """Else every test of the C++ ops would vanish without a word."""
    if native.build_record().get("built"):
        assert availability()["cpp"] is None
    if native.build_record().get("cuda"):
        assert native.load_cuda() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_both_gpu_backends_run_on_a_gpu() -> None:
    """Else every test of theirs would vanish without a word."""
    assert availability("cuda") | {"cpp": ""} == dict.fromkeys(BACKENDS) | {"cpp": ""}


def test_availability_gives_a_reason_for_everything_that_cannot_run() -> None:
    for device in (None, "cpu", "cuda", "meta"):
        answers = availability(device)
        assert list(answers) == list(BACKENDS)
        assert answers["reference"] is None
        assert all(reason is None or len(reason) > 10 for reason in answers.values())
    assert "not on cuda" in availability("cuda")["cpp"]
    assert "not on meta" in availability("meta")["cuda"]


def test_an_explicit_backend_that_cannot_run_is_an_error_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for backend, device, reason in (
        ("cuda", "cpu", "it runs on CUDA tensors, not on cpu"),
        ("triton", "cpu", "it runs on CUDA tensors, not on cpu"),
        ("cpp", "cuda", "it runs on CPU tensors, not on cuda"),
    ):
        with pytest.raises(BackendUnavailable, match=f"'{backend}' cannot run fwht: {reason}"):
            resolve("fwht", backend, device)
    monkeypatch.setattr(native, "load_cpu", lambda: "the library is on holiday")
    with pytest.raises(BackendUnavailable, match="'cpp' cannot run fwht: the library is on hol"):
        resolve("fwht", "cpp")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable, match="torch finds no CUDA device"):
        resolve("fwht", "cuda", "cuda")


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "reference"])
def test_a_float64_state_is_for_the_reference_alone(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_why_not", lambda *_: None)
    with pytest.raises(BackendUnavailable, match=r"the state is torch\.float64"):
        resolve("fwht", backend, "cpu", torch.float64)
    assert resolve("fwht", "auto", "cpu", torch.float64) is OPS["fwht"].reference
    assert not OPS["fwht"].any_dtype and OPS["group_norm_silu"].any_dtype


def test_auto_falls_back_to_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VML_FAST_BACKEND", raising=False)
    monkeypatch.setattr(native, "load_cpu", lambda: "not built")
    for name, op in OPS.items():
        assert resolve(name, "auto", "cpu") is op.reference
        assert resolve(name, "auto", "meta") is op.reference


def test_the_environment_stands_in_for_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_why_not", lambda *_: None)
    monkeypatch.setattr(backends, "_implementation", lambda op, backend: backend)
    for wish in BACKENDS:
        monkeypatch.setenv("VML_FAST_BACKEND", wish)
        assert resolve("fwht", "auto", "cpu") == wish
        assert resolve("fwht", "cpp", "cpu") == "cpp"  # a name given in code counts more
    monkeypatch.setenv("VML_FAST_BACKEND", "auto")
    assert resolve("fwht", "auto", "cpu") == fastest.rules("fwht", "cpu")[0].order[0]


def test_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"op is 'fft'; it must be one of .*, fwht, "):
        resolve("fft")
    with pytest.raises(InputError, match="backend is 'c'; it must be 'auto' or one of reference"):
        resolve("fwht", "c")
    monkeypatch.setenv("VML_FAST_BACKEND", "fastest")
    with pytest.raises(InputError, match="VML_FAST_BACKEND is 'fastest'; it must be 'auto' or"):
        resolve("fwht")
    given = problem(dtype=torch.float32)
    with pytest.raises(InputError, match="VML_FAST_BACKEND is 'fastest'"):
        vf.VMLMAP(given.denoiser, given.operator)


def test_a_solver_hands_the_refusal_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem(dtype=torch.float32)
    with pytest.raises(BackendUnavailable, match="not on cpu"):
        vf.restore(given.y, given.operator, given.denoiser, steps=2, backend="cuda")
    monkeypatch.setenv("VML_FAST_BACKEND", "cuda")
    with pytest.raises(BackendUnavailable, match="not on cpu"):
        vf.restore(given.y, given.operator, given.denoiser, steps=2)


# --- Compositions ------------------------------------------------------------------------------


@kernels
@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.native])
def test_compositions_of_a_backends_parts_agree(
    name: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What backends without a version of their own run."""
    monkeypatch.setitem(OPS, name, dataclasses.replace(OPS[name], native=()))
    given = importlib.import_module(f"tests.ops.test_{name}").arguments((2, 3, 8, 12))
    helpers.assert_backend_agrees(name, backend, given)
    helpers.assert_backend_agrees(name, backend, helpers.placed(given, "channels_last"))


# --- Without the native library ------------------------------------------------------------------


@pytest.fixture
def no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in place of the build's; the loaders are asked anew."""
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    native.build_record.cache_clear()
    monkeypatch.setattr(native, "load_cpu", native.load_cpu.__wrapped__)
    yield tmp_path
    native.build_record.cache_clear()


def test_reasons_why_the_library_is_missing(no_record: Path) -> None:
    def reason(record: object) -> str | None:
        (no_record / "build.json").write_text(json.dumps(record), encoding="utf-8")
        native.build_record.cache_clear()
        return availability()["cpp"]

    assert availability()["cpp"] == f"the C++ library was not built; {native.HOW}"
    assert reason([1]) == f"the C++ library was not built; {native.HOW}"
    assert reason({"built": False, "reason": "no C++ compiler was found"}) == (
        "no C++ compiler was found"
    )
    assert reason({"built": True}).startswith("libvml_fast_cpu.so does not load: ")
    (no_record / "libvml_fast_cpu.so").write_bytes(b"not a library")
    assert reason({"built": True}).startswith("libvml_fast_cpu.so does not load: ")


def test_reasons_why_the_cuda_library_is_missing(
    no_record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "load_cpu", lambda: None)
    record = {"built": True, "cuda": False, "cuda_reason": "nvcc was not found"}
    (no_record / "build.json").write_text(json.dumps(record), encoding="utf-8")
    assert native.load_cuda.__wrapped__() == "the CUDA library was not built: nvcc was not found"
    monkeypatch.setattr(native, "load_cpu", lambda: "no C++ library")
    assert native.load_cuda.__wrapped__() == "no C++ library"


WITHOUT = """
import sys
from pathlib import Path
import torch
from vml_fast.ops import native
native.FOLDER = Path(sys.argv[1])
import vml_fast as vf
from tests.solvers.problems import problem
given = problem(dtype=torch.float32)
result = vf.restore(given.y, given.operator, given.denoiser, method="vml-map-pre", steps=8)
assert result.image.isfinite().all() and result.residual.max() < 0.1, result.residual
H = vf.operators.WalshHadamard((1, 2, 4), ratio=0.5)
result = vf.restore(H(given.truth), H, given.denoiser, method="vml-map-pre", steps=8)
assert result.image.isfinite().all()
try:
    vf.restore(given.y, given.operator, given.denoiser, steps=2, backend="cpp")
except vf.errors.BackendUnavailable as error:
    assert "the C++ library was not built" in str(error), error
else:
    raise AssertionError("backend='cpp' ran without its library")
assert not hasattr(torch.ops.vml_fast, "fwht")
print("solved")
"""


def test_the_package_solves_without_the_native_library(tmp_path: Path) -> None:
    """In a process of its own, which never sees the libraries."""
    environment = {k: v for k, v in os.environ.items() if k != "VML_FAST_BACKEND"}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "solved"
