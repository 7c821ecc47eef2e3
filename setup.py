"""Builds the compiled ops with CMake; everything else about the package is in pyproject.toml.

The shared libraries use LibTorch's stable ABI and no Python API, so one build serves every Python.
A missing compiler, CMake or torch gives a working pure-PyTorch install and a message that says so.

Environment:
    VML_FAST_NATIVE: 0 skips the native part, 1 makes a failure to build it an error.
    VML_FAST_CUDA: 0 never builds the CUDA library, 1 insists on it; by default, where nvcc exists.
    VML_FAST_CUDA_ARCHS: CMake architectures, default "90" (sm_90 code and compute_90 PTX).
    VML_FAST_BUILD_JOBS: parallel compile jobs, default the number of processors.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
NATIVE = Path("vml_fast/ops/native")
# A cmake and ninja that pip put beside this Python come before the system's: an old CMake does not
# know a new nvcc, and the environment's bin folder is not on PATH where it was never activated.
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a build step; its output is shown, and quoted when it fails."""
    result = subprocess.run(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    sys.stderr.write(result.stdout)
    if result.returncode:
        tail = "\n".join(result.stdout.strip().splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command[:3])} … failed:\n{tail}")


def cmake() -> str | None:
    """The CMake to use, or None."""
    return shutil.which("cmake", path=TOOLS)


def why_not() -> str | None:
    """What is missing for the native build, or None."""
    if importlib.util.find_spec("torch") is None:
        return (
            "torch is not importable during the build: install torch first, "
            "then build with `pip install --no-build-isolation .`"
        )
    if shutil.which(os.environ.get("CXX", "c++")) is None and shutil.which("g++") is None:
        return "no C++ compiler was found: install g++ (or set CXX), then reinstall"
    if cmake() is None:
        return "cmake was not found: `pip install cmake ninja`, then reinstall"
    return None


class CMakeBuild(build_ext):
    """Runs CMake once and puts the libraries and a record of the build into the package."""

    def run(self) -> None:
        target = self._target()
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob("libvml_fast_*"):
            old.unlink()
        setting = os.environ.get("VML_FAST_NATIVE", "auto")
        reason = "VML_FAST_NATIVE=0 was set when the package was built"
        if setting != "0":
            reason = why_not() or self._build(target)
        if reason:
            self._record(target, {"built": False, "reason": reason})
            insists = [v for v in ("VML_FAST_NATIVE", "VML_FAST_CUDA") if os.environ.get(v) == "1"]
            if insists:
                raise RuntimeError(f"{' and '.join(insists)}=1 was set, but {reason}")
            print(
                f"\n*** vml-fast: pure PyTorch install, no compiled ops. {reason}\n",
                file=sys.stderr,
            )

    def _build(self, target: Path) -> str | None:
        """Configure, compile, install into `target`; the reason if that fails."""
        wish = os.environ.get("VML_FAST_CUDA", "AUTO")
        problem = self._cmake(target, wish)
        if problem is None:
            return None
        if wish != "AUTO":
            return f"the native build failed: {problem}"
        # An nvcc that does not work must not cost the CPU library.
        without_cuda = self._cmake(target, "0")
        if without_cuda is None:
            record = json.loads((target / "build.json").read_text(encoding="utf-8"))
            self._record(target, {**record, "cuda_reason": f"its build failed: {problem}"})
            return None
        return f"the native build failed: {without_cuda}"

    def _cmake(self, target: Path, cuda: str) -> str | None:
        """One run of CMake with a setting of VML_FAST_CUDA; what went wrong, or None."""
        build = Path(self.build_temp).resolve() / "cmake"
        build.mkdir(parents=True, exist_ok=True)
        jobs = os.environ.get("VML_FAST_BUILD_JOBS", str(os.cpu_count() or 1))
        ninja = shutil.which("ninja", path=TOOLS)
        configure = [
            str(cmake()),
            *("-S", str(ROOT), "-B", str(build)),
            *(["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []),
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DVML_FAST_CUDA={cuda}",
            f"-DVML_FAST_CUDA_ARCHS={os.environ.get('VML_FAST_CUDA_ARCHS', '90')}",
            f"-DCMAKE_INSTALL_PREFIX={target}",
        ]
        try:
            run(configure)
            run([str(cmake()), "--build", str(build), "--parallel", jobs])
            run([str(cmake()), "--install", str(build)])
        except (OSError, RuntimeError) as error:
            return str(error)
        return None

    @staticmethod
    def _record(target: Path, record: dict[str, object]) -> None:
        (target / "build.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def _target(self) -> Path:
        in_place = self.inplace or getattr(self, "editable_mode", False)
        return (ROOT if in_place else Path(self.build_lib).resolve()) / NATIVE

    def get_outputs(self) -> list[str]:
        """The files that belong into the wheel."""
        return [str(path) for path in sorted(self._target().glob("*")) if path.is_file()]

    def get_output_mapping(self) -> dict[str, str]:
        """Editable installs build straight into the source tree: nothing to map."""
        return {}

    def get_source_files(self) -> list[str]:
        """What a source distribution needs to build the libraries."""
        patterns = (
            "CMakeLists.txt",
            "csrc/**/*.cpp",
            "csrc/**/*.cu",
            "csrc/**/*.h",
            "csrc/**/*.cuh",
        )
        return [
            str(path.relative_to(ROOT)) for item in patterns for path in sorted(ROOT.glob(item))
        ]


class PlatformWheel(bdist_wheel):
    """Tags the wheel py3-none-<platform>: it depends on the processor, not on the Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    packages=[*find_packages(include=["vml_fast", "vml_fast.*"]), "vml_fast.kernels"],
    package_dir={"vml_fast.kernels": "kernels"},
    ext_modules=[Extension("vml_fast.ops.native", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "bdist_wheel": PlatformWheel},
)
