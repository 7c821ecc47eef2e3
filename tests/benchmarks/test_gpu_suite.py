"""The GPU suite's script with a stand-in for Python: order, resumption, failure, time limit."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_suite.sh"
STEPS = ("build", "test", "sanitizer", "bench", "solve", "throughput", "train", "report")

INTERPRETER = """\
#!/usr/bin/env bash
case "$*" in
  "-m benchmarks.machine") echo some-gpu ;;
  "-m benchmarks.suite_step "*)
    mkdir -p benchmarks/results/some-gpu
    echo "{\\"status\\": $4, \\"end\\": 0}" > "benchmarks/results/some-gpu/suite-$3.json"
    ;;
  -) cat > /dev/null ;;
  *)
    echo "$*" >> calls
    [[ "$*" != *"${FAILING:-nothing}"* ]]
    ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with two folders of tests, and a stand-in for Python that notes its calls."""
    for folder in ("benchmarks", "tests/ops", "tests/cli"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tests" / "ops" / "test_update.py").touch()
    shutil.copy(SCRIPT, tmp_path / "benchmarks")
    python = tmp_path / "python"
    python.write_text(INTERPRETER)
    python.chmod(0o755)
    return tmp_path


def suite(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(checkout / "benchmarks" / "gpu_suite.sh"), *arguments],
        env={**os.environ, "PYTHON": str(checkout / "python"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def calls(checkout: Path) -> list[str]:
    path = checkout / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_it_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


def test_a_dry_run_prints_every_step_and_runs_nothing(checkout: Path) -> None:
    done = suite(checkout, "--dry-run", PRIOR_DATA="/images", WHEELS="/wheels")
    assert done.returncode == 0
    for part in (
        "pip install --quiet --no-index --no-deps --no-build-isolation -e .",
        "/wheels",
        "VML_FAST_CUDA=1",
        "tests/ops/",
        "compute-sanitizer --tool memcheck",
        "compute-sanitizer --tool racecheck",
        "compute-sanitizer --tool synccheck",
        "VML_FAST_BACKEND=cuda",
        "VML_FAST_BACKEND=triton",
        "benchmarks.run brackets",
        "benchmarks.run kernels",
        "benchmarks.run inner_step",
        "benchmarks.run launches",
        "benchmarks.run solve",
        "adm256\\ and\\ \\(compile\\ or\\ cuda-graph\\)",
        "benchmarks.throughput --network dps-ffhq256",
        "benchmarks.run accelerate",
        "benchmarks.run jacobian",
        "benchmarks.precision --images 16",
        "profile --cuda-graph off",
        "train-prior --data /images",
        "benchmarks.fastest",
        "benchmarks.report",
    ):
        assert part in done.stdout
    assert calls(checkout) == []


def test_named_steps_run_alone_and_unknown_ones_are_refused(checkout: Path) -> None:
    assert suite(checkout, "solve").returncode == 0
    assert calls(checkout) == ["-m benchmarks.run solve"]
    done = suite(checkout, "bench", "nonsense")
    assert done.returncode == 2
    assert "no step nonsense; there are " + " ".join(STEPS) in done.stderr
    assert calls(checkout) == []


def test_what_passed_is_not_run_again_and_what_failed_is(checkout: Path) -> None:
    done = suite(checkout, "bench", FAILING="kernels")
    assert done.returncode == 1
    assert "failed: bench-kernels" in done.stdout
    assert len(calls(checkout)) == 4
    assert suite(checkout, "bench").returncode == 0
    assert calls(checkout) == ["-m benchmarks.run kernels"]
    assert suite(checkout, "--again", "bench").returncode == 0
    assert len(calls(checkout)) == 4


def test_it_stops_in_time_and_says_so(checkout: Path) -> None:
    done = suite(checkout, "test", LIMIT="10")
    assert done.returncode == 75
    assert "run the script again" in done.stdout
    assert calls(checkout) == []


def test_records_and_logs_are_packed(checkout: Path) -> None:
    out = checkout / "out"
    assert suite(checkout, "solve", OUT=str(out)).returncode == 0
    with tarfile.open(out / "gpu_suite.tar.gz") as archive:
        names = archive.getnames()
    assert "benchmarks/results/some-gpu/suite-solve.json" in names
    assert "build/gpu_suite/solve.log" in names
