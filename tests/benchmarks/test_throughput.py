"""Throughput: networks of the published sizes, counted operations, the chart, the page."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks import beside, peers, throughput
from benchmarks.machine import machine_tag
from benchmarks.networks import NETWORKS, millions, unet
from benchmarks.peak import floating_point_operations, peak_flops
from benchmarks.records import Machine, load
from benchmarks.throughput_report import throughput_section
from vml_fast.denoisers import EDMDenoiser
from vml_fast.evaluation.ladder import Rung
from vml_fast.evaluation.profiling import Ratio
from vml_fast.evaluation.throughput import Measurement, Timings

pytest.importorskip("diffusers")


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_have_the_published_number_of_parameters(name: str) -> None:
    sized = NETWORKS[name]
    if sized.config is None:
        network: Any = sized.build().network
    else:
        with torch.device("meta"):
            network = unet(sized.config)
            output = network(torch.empty(1, *sized.image_shape), torch.ones(1)).sample
        assert output.shape[-2:] == sized.image_shape[-2:]
    assert millions(network) == pytest.approx(sized.parameters, rel=0.1)


def test_the_published_sizes_are_those_of_the_field() -> None:
    sizes = {name: (found.image_shape[1], found.parameters) for name, found in NETWORKS.items()}
    assert sizes["edm64"][0] == 64
    assert sizes["dps-ffhq256"] == (256, 93.6)
    assert sizes["adm256"] == (256, 552.8)
    assert sizes["ldm64"] == (64, 274.1)


def test_a_network_with_a_learned_variance_is_a_denoiser() -> None:
    config = dict(NETWORKS["dps-ffhq256"].config or {})
    config.update(sample_size=32, block_out_channels=(64,) * 6)
    denoiser = EDMDenoiser(unet(config), (3, 32, 32))
    with torch.no_grad():
        assert denoiser(torch.zeros(1, 3, 32, 32), torch.ones(1)).shape == (1, 3, 32, 32)


def test_operations_of_a_convolution_and_its_vjp_are_counted() -> None:
    layer = torch.nn.Conv2d(3, 5, 3, padding=1).requires_grad_(False)
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    forward = 2 * (2 * 16 * 16 * 5) * (3 * 9)
    assert floating_point_operations(lambda: layer(x)) == forward

    def both() -> None:
        torch.autograd.grad(layer(x).sum(), x)

    assert floating_point_operations(both) == 2 * forward


def test_the_peak_is_that_of_a_processor() -> None:
    assert 1e8 < peak_flops(torch.float32) < 1e16


def test_a_missing_deepinv_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepinv", None)
    with pytest.raises(ImportError, match="deepinv does not import"):
        peers.import_deepinv()


def test_our_denoiser_in_the_range_of_the_peers() -> None:
    """D(x, sigma) = x / (1 + sigma²) on [-1, 1]; half of everything on [0, 1]."""
    unit = peers.UnitRange(lambda x, sigma: x / (1 + sigma[:, None, None, None] ** 2))  # type: ignore[arg-type]
    x = torch.rand(2, 3, 4, 4)
    expected = ((2 * x - 1) / (1 + 0.4**2) + 1) / 2
    torch.testing.assert_close(unit(x, 0.2), expected)
    torch.testing.assert_close(unit(x, torch.tensor([0.2, 0.2])), expected)


def test_the_command_writes_a_record_and_a_chart(tmp_path: Path) -> None:
    arguments = ["--batch", "1", "--steps", "1", "--inner-steps", "1", "--repeats", "1"]
    skip = [word for key in ("compile", "cuda-graph", "bfloat16") for word in ("--skip", key)]
    folders = ["--results", str(tmp_path / "results"), "--images", str(tmp_path / "images")]
    throughput.main([*arguments, *skip, *folders])
    folder = tmp_path / "results" / machine_tag()
    record = json.loads((folder / "throughput-emoji64-1.json").read_text())
    rows = record["ladder"]["rows"]
    assert [row["key"] for row in rows] == ["reference", "fused", "network"]
    assert all(row["seconds"] > 0 for row in rows)
    assert record["ladder"]["left_out"]["compile"] == "not asked for"
    step = record["ladder"]["inner_step"]
    assert step["ratio"] == pytest.approx(step["milliseconds"] / step["milliseconds_of_network"])
    assert bool(record["ladder"]["peers"]) != bool(record["ladder"]["no_peers"])
    assert load(folder).entries == []  # the pages of single benchmarks pass it over
    (chart,) = (tmp_path / "images").iterdir()
    assert machine_tag() in chart.name
    with Image.open(chart) as picture:
        assert picture.width > 500


def test_the_note_says_what_stands_beside_the_ladder() -> None:
    measured = [
        Measurement(Rung("reference", "plain PyTorch"), [4.0]),
        Measurement(Rung("network", "+ fused network", "float32"), [2.0], first_seconds=5.0),
    ]
    timings = Timings(measured, {"compile": "no compiler"}, batch=8, total_steps=20)
    rival = beside.Peer("DPS", "0.5.0", 330.0, 110.0, 3.0)._asdict()
    note = throughput.footnote(timings, Ratio(1.02, 1.0), [rival])
    assert "1.02 times as long" in note
    assert "up to fused network, takes 3 s longer" in note
    assert "DPS per step: 330 ms by deepinv 0.5.0, 110 ms here (3.00×)" in note
    assert note.endswith("No compile: no compiler.")


def test_charts_of_other_sizes_have_names_of_their_own() -> None:
    names = {throughput.chart_name(*size) for size in (("emoji64", 8), ("emoji64", 1), ("x", 8))}
    assert len(names) == 3
    assert f"throughput-{machine_tag()}.png" in names


def entry(group: str, seconds: float, params: dict[str, Any], **info: Any) -> dict[str, Any]:
    return {"group": group, "params": params, "extra_info": info, "stats": {"median": seconds}}


def test_the_section_of_a_machine() -> None:
    network = {"network": "adm256"}
    solve = entry(
        "throughput", 2.0, network, batch=8, label="+ CUDA graph", speed_up=4.0, extra_bytes=2**21,
        milliseconds_per_inner_step=100.0, baseline_milliseconds_per_inner_step=400.0,
        images_per_second=4.0, warm_up_seconds=3.0,
    )  # fmt: skip
    step = entry(
        "inner step over network", 2.0, network, batch=1, dtype="bfloat16", ratio=1.01,
        milliseconds_per_inner_step=10.1, milliseconds_of_network=10.0, share_of_measured_peak=0.5,
    )  # fmt: skip
    rival = entry(
        "peers", 0.6, {**network, "method": "DPS"}, batch=1, steps=6, speed_up=2.5,
        milliseconds_per_step_of_peer=250.0,
    )  # fmt: skip
    product = entry(
        "jacobian", 1.0, {**network, "product": "jvp"}, batch=2, milliseconds_per_inner_step=7.0,
        time_over_vjp=1.5, extra_bytes=2**20, extra_bytes_of_vjp=3 * 2**20, difference=0.01,
    )  # fmt: skip
    section = throughput_section(Machine("some", entries=[solve, step, rival, product]))
    assert "| jvp, adm256, batch 2 | 7 | 1.50 | 1 MiB | 3 MiB | 1e-02 |" in section
    assert "| adm256, batch 8: + CUDA graph | 4.00× | 100 | 400 | 4 | 3.0 s | 2 MiB |" in section
    assert "| adm256, batch 1, bfloat16 | 10.1 | 10 | 1.010 | 50% |" in section
    assert "| DPS, adm256, batch 1 | 250 | 100 | 2.50× |" in section
    assert throughput_section(Machine("none")) == ""
