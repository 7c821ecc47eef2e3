"""Runs `agreement.py`, every kernel against its reference, where kernels can run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]


def _run(interpreted: bool, *options: str) -> None:
    on_cpu = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment = os.environ | (on_cpu if interpreted else {"TRITON_INTERPRET": "0"})
    plugin = ["-p", "tests.kernels.interpreter"] if interpreted else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, *options]
    result = subprocess.run(
        [*command, "tests/kernels/agreement.py"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-20000:]


def test_kernels_agree_in_the_interpreter() -> None:
    _run(interpreted=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_kernels_agree_on_the_gpu() -> None:
    _run(interpreted=False)
