"""Every op has a benchmark, all of them run, and a timed run writes a record that can be read."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.machine import machine_tag
from benchmarks.records import load, median
from benchmarks.run import command, groups, main
from vml_fast.ops import OPS, resolve

ROOT = Path(__file__).parents[2]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_op_has_a_benchmark() -> None:
    resolve("update", "reference")  # fills the registry
    assert OPS
    for op in OPS.values():
        assert f"test_{op.name}" in functions(ROOT / "benchmarks" / f"test_{op.home}.py"), op.name


def test_all_benchmarks_pass_as_a_smoke_test() -> None:
    smoke = [sys.executable, "-m", "pytest", "-q", "benchmarks", "--benchmark-disable"]
    done = subprocess.run(smoke, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_a_timed_run_writes_a_record(tmp_path: Path) -> None:
    folder = tmp_path / machine_tag()
    folder.mkdir()
    line = command("kernels", folder, ["--tiny", "-k", "test_update"])
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    machine = load(folder)
    assert machine.tag == machine_tag() and machine.device
    for by_backend in machine.ops()["update"].values():
        for entry in by_backend.values():
            assert median(entry) > 0
            info = entry["extra_info"]
            size, dtype = entry["params"]["size"], entry["params"]["dtype"]
            pixels = 2 * 3 * size**2
            network = 4 if dtype == "float32" else 2
            assert info["bytes"] == pixels * (3 * 4 + 2 * network)  # x twice, v; g, u
            assert info["share_of_copy_bandwidth"] > 0
            assert "data" not in entry["stats"]  # single timings stay out of the record


def test_groups_cover_every_file() -> None:
    files = sorted((ROOT / "benchmarks").glob("test_*.py"))
    assert sorted(path for paths in groups().values() for path in paths) == files


def test_an_unknown_group_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert "no group nonsense; there are brackets" in capsys.readouterr().err
