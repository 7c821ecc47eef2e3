"""The command as a whole: help, version, doctor, and what a separate process sees."""

import subprocess
import sys

import pytest

import vml_fast
from tests.cli.conftest import run
from vml_fast.cli import options
from vml_fast.denoisers.precision import DTYPES
from vml_fast.operators import TASKS
from vml_fast.solvers import METHODS

COMMANDS = ["restore", "degrade", "bench", "profile", "evaluate", "doctor", "train-prior"]


def _process(*arguments):
    code = "from vml_fast.cli.main import app; app(prog_name='vml-fast')"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_help_lists_the_names_of_the_library():
    assert set(options.TASK_NAMES) == set(TASKS)
    assert set(options.METHOD_NAMES) == set(METHODS)
    assert set(options.DTYPE_NAMES) == {"auto", *DTYPES}


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.strip() == vml_fast.__version__


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage: vml-fast" in result.stdout or f"{command} [OPTIONS]" in result.stdout


def test_doctor_says_what_is_here_and_why_not(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = run("doctor")
    assert result.exit_code == 0, result.output
    for word in ("python", "torch", "Processor", "GPUs", "reference", "cpp", "triton", "cuda"):
        assert word in result.stdout
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.split()}
    assert "available" in lines["reference"]


def test_help_does_not_import_torch():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from vml_fast.cli.main import app\n"
        f"for command in {COMMANDS}:\n"
        "    assert CliRunner().invoke(app, [command, '--help']).exit_code == 0, command\n"
        "heavy = {'torch', 'diffusers', 'matplotlib', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_process_ends_with_code_2_and_one_sentence(tmp_path):
    result = _process("restore", tmp_path / "no.png", "--task", "sr4", "--output", tmp_path / "out")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: input ")
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_usage_errors_end_with_code_2():
    result = _process("restore", "--no-such-option")
    assert result.returncode == 2
    assert "--no-such-option" in result.stderr
    assert "Traceback" not in result.stderr
