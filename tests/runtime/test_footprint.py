"""Memory of an inner step: what the measurement says is what the process takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.runtime.networks import SmallNetwork
from vml_fast.denoisers import EDMDenoiser
from vml_fast.runtime import footprint

WIDE = (8, 64, 64)

GROWTH = """
import sys, torch
from tests.runtime.test_footprint import network
from vml_fast.runtime.footprint import _Trial
torch.set_num_threads(1)
denoiser, product = network(), sys.argv[1]
def peak():
    status = open("/proc/self/status").read()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
_Trial(denoiser, torch.zeros(2, 8, 64, 64), product, {})()
before = peak()
_Trial(denoiser, torch.zeros(50, 8, 64, 64), product, {})()
print((peak() - before) / 48)
"""


def network() -> EDMDenoiser:
    """Six layers, whose activations are far larger than the images."""
    torch.manual_seed(0)
    layers = [SmallNetwork(WIDE[0], width=64) for _ in range(6)]

    def stack(u: torch.Tensor, c_noise: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            u = layer(u, c_noise)
        return u

    denoiser = EDMDenoiser(stack, WIDE)
    for layer in layers:
        layer.requires_grad_(False)
    return denoiser


def per_image(product: str) -> float:
    one, two = footprint.measured_peaks(network(), torch.zeros(2, *WIDE), product, {})
    return two - one


def test_a_finite_difference_keeps_no_activations() -> None:
    """Its need is that of a layer; the VJP keeps those of all six."""
    assert per_image("finite_difference") < 0.5 * per_image("vjp")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the resident memory")
@pytest.mark.parametrize("product", ["vjp", "finite_difference"])
def test_the_process_takes_what_was_measured(product: str) -> None:
    """Up to what the allocator and the libraries' workspaces add."""
    command = [sys.executable, "-c", GROWTH, product]
    root = Path(__file__).parents[2]
    out = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    grown = float(out.split()[-1])
    assert 0.7 < grown / per_image(product) < 1.6


def test_free_memory_of_the_machine() -> None:
    free = footprint.free_memory(torch.device("cpu"))
    assert 2**20 < free <= footprint.UNKNOWN


def test_measuring_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    per_image("vjp")
    assert capfd.readouterr() == ("", "")
