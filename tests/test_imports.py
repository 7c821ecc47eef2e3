"""Imports point one way: from the command line down to the compiled operations."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vml_fast"

LAYERS = (
    ("cli",),
    ("evaluation", "training"),
    ("reference", "solvers"),
    ("objective", "covariance_traces", "preconditioners", "runtime"),
    ("operators", "denoisers", "schedules"),
    ("ops",),
    ("kernels",),
)
"""From the top down; a module imports its own layer and those below it."""

GROUND = ("arrays", "autograd", "checks", "devices", "errors", "trace", "__version__", "")
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def _imported(tree: ast.AST) -> set[str]:
    """First-level names of vml_fast that a module imports, at any depth of its code."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "vml_fast":
            names |= {f"vml_fast.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {n.split(".")[1] for n in names if n.startswith("vml_fast.")}


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.stem != "__init__")


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(file: Path) -> None:
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in GROUND:
        allowed: set[str] = set(GROUND)
    else:
        allowed = {name for name, rank in RANK.items() if rank >= RANK[own]} | set(GROUND)
    assert _imported(ast.parse(file.read_text())) <= allowed


def test_every_module_has_a_layer() -> None:
    modules = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in FILES}
    elsewhere = {"kernels", "__version__", ""}  # a folder beside the package, and names in it
    assert modules == (set(RANK) | set(GROUND)) - elsewhere


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, vml_fast.cli; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)
