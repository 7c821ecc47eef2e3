"""The build: what it does without a compiler or nvcc, what the wheel is called, what is linked."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import setuptools
import torch
from setuptools.dist import Distribution

from tests.native.builds import ROOT
from vml_fast.ops import native

TOOLS = (
    *("c++", "g++", "cc", "gcc", "as", "ld", "ar", "nm", "ranlib"),
    *("cmake", "ninja", "make", "uname", "sh", "bash"),
)
"""Enough to compile C++, and no nvcc."""

LIBRARIES = sorted(native.FOLDER.glob("libvml_fast_*.so"))
libraries = pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def without_nvcc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH."""
    folder = tmp_path_factory.mktemp("bin")
    for tool in TOOLS:
        if found := shutil.which(tool):
            (folder / tool).symlink_to(found)
    for needed in ("g++", "cmake", "ninja"):
        if not (folder / needed).exists():
            pytest.skip(f"no {needed}")
    return folder


def environment(path: Path, **variables: str) -> dict[str, str]:
    """This one with another PATH and only the build variables given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VML_FAST_", "CUDA")) and name not in ("CXX", "CC", "CMAKE")
    }
    return {**kept, "PATH": str(path), **variables}


def build(
    folder: Path, path: Path, *, command: str = "build_ext", **variables: str
) -> tuple[int, str, dict[str, Any]]:
    """Run a command of setup.py into `folder`: exit status, messages, record of the build."""
    options = ["--build-temp", str(folder / "temp")] if command == "build_ext" else []
    if command == "build":
        options = ["--build-base", str(folder / "base")]
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", command, *options, "--build-lib", str(folder / "lib")],
        cwd=ROOT,
        env=environment(path, **variables),
        capture_output=True,
        text=True,
    )
    record = folder / "lib" / "vml_fast" / "ops" / "native" / "build.json"
    return result.returncode, result.stderr, json.loads(record.read_text(encoding="utf-8"))


@pytest.fixture
def setup_file(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that setup.py defines, and what it passes to setuptools."""
    passed: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: passed.update(keywords))
    return {**runpy.run_path(str(ROOT / "setup.py")), "passed": passed}


# --- Without a compiler ------------------------------------------------------------------------

PURE = """
import vml_fast as vf, torch, sys
from vml_fast.ops import availability, resolve
assert vf.__file__.startswith(sys.argv[1]), vf.__file__
assert "no C++ compiler was found" in availability()["cpp"], availability()
assert "no C++ compiler was found" in availability("cuda")["cuda"] or not torch.cuda.is_available()
x = torch.arange(4.0)
assert torch.allclose(resolve("fwht")(resolve("fwht")(x)), x)
"""


def test_without_a_compiler_the_install_is_pure_python_and_works(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    status, messages, record = build(tmp_path, empty, command="build")
    assert status == 0
    assert "pure PyTorch install" in messages
    assert "no C++ compiler was found: install g++ (or set CXX), then reinstall" in messages
    assert record["built"] is False and "no C++ compiler was found" in record["reason"]
    installed = tmp_path / "lib"
    assert not list(installed.rglob("*.so"))
    for table in [*ROOT.glob("kernels/*.json"), *ROOT.glob("vml_fast/ops/*.json")]:
        home = "vml_fast/kernels" if table.parent.name == "kernels" else "vml_fast/ops"
        assert (installed / home / table.name).is_file()
    subprocess.run(
        [sys.executable, "-c", PURE, str(installed)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
    )


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, without_nvcc: Path) -> None:
    status, messages, record = build(tmp_path, without_nvcc, CXX=shutil.which("false") or "false")
    assert status == 0
    assert record["built"] is False
    assert re.match(r"the native build failed: \S*cmake -S .* failed:", record["reason"])
    assert "pure PyTorch install" in messages


@pytest.mark.parametrize("variable", ["VML_FAST_NATIVE", "VML_FAST_CUDA"])
def test_what_was_insisted_on_fails_loudly(tmp_path: Path, variable: str) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    status, messages, _ = build(tmp_path, empty, **{variable: "1"})
    assert status != 0
    assert f"{variable}=1 was set, but no C++ compiler was found" in messages


def test_the_native_part_can_be_left_out(tmp_path: Path, without_nvcc: Path) -> None:
    status, messages, record = build(tmp_path, without_nvcc, VML_FAST_NATIVE="0")
    assert status == 0 and "pure PyTorch install" in messages
    assert record == {
        "built": False,
        "reason": "VML_FAST_NATIVE=0 was set when the package was built",
    }


def test_each_missing_tool_is_named(
    setup_file: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    why_not = setup_file["why_not"]
    if why_not() is not None:
        pytest.skip(why_not())
    for name, reason in (
        ("cmake", "cmake was not found: `pip install cmake ninja`, then reinstall"),
        ("torch", "torch is not importable during the build: install torch first"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", lambda module, n=name: module != n or None)
            patch.setitem(why_not.__globals__, "cmake", lambda n=name: None if n == "cmake" else n)
            assert why_not().startswith(reason)


def test_an_nvcc_that_fails_does_not_cost_the_cpu_library(
    setup_file: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = setup_file["CMakeBuild"](Distribution())
    tried: list[str] = []

    def run_cmake(target: Path, cuda: str) -> str | None:
        tried.append(cuda)
        command._record(target, {"built": True, "cuda": cuda != "0"})
        return None if cuda == "0" else "nvcc is out of order"

    monkeypatch.setattr(command, "_cmake", run_cmake)
    monkeypatch.setenv("VML_FAST_CUDA", "1")
    assert command._build(tmp_path) == "the native build failed: nvcc is out of order"
    monkeypatch.delenv("VML_FAST_CUDA")
    assert command._build(tmp_path) is None
    assert tried == ["1", "AUTO", "0"]
    record = json.loads((tmp_path / "build.json").read_text(encoding="utf-8"))
    assert record["built"] is True and record["cuda"] is False
    assert record["cuda_reason"] == "its build failed: nvcc is out of order"


# --- CUDA or not -------------------------------------------------------------------------------


def configure(folder: Path, path: Path, cuda: str) -> dict[str, Any]:
    """Run the first step of the build; its record."""
    command = ["cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja"]
    options = [f"-DPython_EXECUTABLE={sys.executable}", f"-DVML_FAST_CUDA={cuda}"]
    result = subprocess.run(
        [*command, *options], env=environment(path, CUDACXX=""), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return json.loads((folder / "build.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory, without_nvcc: Path) -> Path:
    """A build folder of the default settings where there is no nvcc."""
    folder = tmp_path_factory.mktemp("configured")
    configure(folder, without_nvcc, "AUTO")
    return folder


def test_without_nvcc_the_cpu_library_alone_is_built(configured: Path) -> None:
    record = json.loads((configured / "build.json").read_text(encoding="utf-8"))
    assert record["built"] is True and record["cuda"] is False
    assert record["cuda_reason"] == "nvcc was not found when the package was built"
    assert record["torch"] == torch.__version__ and record["compiler"]


def test_the_flags_keep_the_library_portable_and_exact(configured: Path) -> None:
    commands = json.loads((configured / "compile_commands.json").read_text(encoding="utf-8"))
    sources = {Path(entry["file"]).name for entry in commands}
    assert sources >= {path.name for path in (ROOT / "csrc/cpu").glob("*.cpp")} | {"schemas.cpp"}
    for flags in (set(entry["command"].split()) for entry in commands):
        assert {"-O3", "-fPIC", "-DTORCH_TARGET_VERSION=0x020a000000000000"} <= flags
        assert not {"-ffast-math", "-Ofast", "-march=native", "-fopenmp"} & flags


def test_the_cuda_library_can_be_left_out(configured: Path, without_nvcc: Path) -> None:
    record = configure(configured, without_nvcc, "0")
    assert record["built"] is True and record["cuda"] is False
    assert record["cuda_reason"] == "VML_FAST_CUDA=0 was set when the package was built"


def test_insisting_on_cuda_without_nvcc_is_an_error(tmp_path: Path, without_nvcc: Path) -> None:
    status, messages, record = build(tmp_path, without_nvcc, VML_FAST_CUDA="1", CUDACXX="")
    assert status != 0
    assert "VML_FAST_CUDA=1 was set, but the native build failed" in messages
    assert "no working nvcc was found" in messages
    assert record["built"] is False


# --- The wheel ---------------------------------------------------------------------------------


def test_the_wheel_depends_on_the_platform_and_not_on_the_python(
    setup_file: dict[str, Any],
) -> None:
    passed = setup_file["passed"]
    distribution = Distribution({"name": "vml-fast", "ext_modules": passed["ext_modules"]})
    command = passed["cmdclass"]["bdist_wheel"](distribution)
    command.ensure_finalized()
    python, abi, platform = command.get_tag()
    assert (python, abi) == ("py3", "none")
    assert platform not in ("any", "")


def test_the_source_distribution_holds_everything_that_is_compiled(
    setup_file: dict[str, Any],
) -> None:
    command = setup_file["CMakeBuild"](Distribution())
    listed = set(command.get_source_files())
    for path in ROOT.glob("csrc/**/*"):
        if path.suffix in (".cpp", ".h", ".cu", ".cuh"):
            assert str(path.relative_to(ROOT)) in listed
    assert "CMakeLists.txt" in listed


def test_kernels_are_installed_with_the_package(setup_file: dict[str, Any]) -> None:
    passed = setup_file["passed"]
    assert passed["package_dir"] == {"vml_fast.kernels": "kernels"}
    assert {"vml_fast", "vml_fast.ops", "vml_fast.kernels"} <= set(passed["packages"])


INSTALLED = """
import sys, torch, vml_fast
from vml_fast.ops import resolve
assert vml_fast.__file__.startswith(sys.argv[1]), vml_fast.__file__
x = torch.randn(3, 64)
assert torch.allclose(resolve("fwht", "cpp")(x), resolve("fwht", "reference")(x), atol=1e-5)
"""


@pytest.mark.slow
def test_a_wheel_holds_the_library_and_runs_outside_the_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("native", "__pycache__", "*.egg-info")
    for name in ("vml_fast", "kernels", "csrc"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    variables = {**os.environ, "VML_FAST_NATIVE": "1", "VML_FAST_CUDA": "0"}
    flags = ["--no-build-isolation", "--no-deps", "-q", "-w", str(tmp_path), str(source)]
    subprocess.run([*pip, "wheel", *flags], check=True, env=variables)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.split("-")[2:4] == ["py3", "none"]
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "vml_fast/ops/native/libvml_fast_cpu.so",
        "vml_fast/ops/native/build.json",
        "vml_fast/ops/fastest.json",
        "vml_fast/kernels/fwht.py",
        "vml_fast/kernels/settings.json",
    } <= set(names)
    assert not [name for name in names if name.startswith(("tests", "csrc", "benchmarks"))]
    target = tmp_path / "installed"
    install = ["install", "--no-deps", "-q", "--target", str(target), str(wheel)]
    subprocess.run([*pip, *install], check=True)
    subprocess.run(
        [sys.executable, "-c", INSTALLED, str(target)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        check=True,
    )


# --- The libraries that were built -------------------------------------------------------------


def output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@libraries
def test_libraries_use_the_stable_abi_of_torch_alone(library: Path) -> None:
    audit = shutil.which("torch-abi-audit", path=f"{Path(sys.executable).parent}:{os.defpath}")
    if audit is None:
        pytest.skip("no torch-abi-audit")
    result = subprocess.run(
        [audit, "--verbose", "--check", "torch", str(library)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


@libraries
def test_libraries_know_nothing_of_python(library: Path) -> None:
    """One library serves every Python."""
    undefined = output("nm", "-D", "--undefined-only", str(library))
    symbols = [line.split()[-1] for line in undefined.splitlines()]
    assert "torch_library_impl" in symbols
    assert [symbol for symbol in symbols if symbol.startswith(("Py", "_Py"))] == []
    entries = output("readelf", "-d", str(library)).splitlines()
    needed = [line for line in entries if "NEEDED" in line]
    assert any("libtorch" in line for line in needed)
    assert not any("python" in line for line in needed)


@libraries
def test_libraries_export_nothing_of_their_own(library: Path) -> None:
    """Two versions in one process must not find each other's functions."""
    defined = output("nm", "-D", "--defined-only", "-C", str(library))
    assert [line for line in defined.splitlines() if "vml_fast::" in line] == []
