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


def test_a_method_without_products_is_not_measured_with_one() -> None:
    """DDRM and DAPS run with denoisers that no graph can be made of."""
    asked = []

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        asked.append(torch.is_grad_enabled() and x.requires_grad)
        return 0.5 * x

    footprint.measured_peaks(denoiser, torch.zeros(2, *WIDE), "none", {})
    assert asked and not any(asked)
    assert per_image("none") < 0.5 * per_image("vjp")


def test_a_profile_under_way_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "free_memory", lambda device: 1 << 20)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch.ones(3).add(1)
        assert footprint.largest_batch(network(), torch.zeros(4, *WIDE), "vjp", {}) == 4
        torch.ones(3).mul(2)
    names = {event.name for event in profile.events()}
    assert {"aten::add", "aten::mul"} <= names


def test_peaks_are_kept_for_their_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """A latent prior's model is another function for each solver; its peaks are not."""
    calls = []
    monkeypatch.setattr(footprint, "free_memory", lambda device: 1 << 20)
    monkeypatch.setattr(footprint, "measured_peaks", lambda *given: calls.append(given) or (8, 16))
    owner = network()
    for _ in range(3):
        footprint.largest_batch(lambda x, s: x, torch.zeros(4, *WIDE), "vjp", {}, owner=owner)
    assert len(calls) == 1


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
