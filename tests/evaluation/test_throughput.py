"""The ladder of accelerations: what is on it, what is refused, and that times are what they are."""

import itertools
import time

import pytest
import torch

from tests.cli.conftest import save_prior
from vml_fast.denoisers import load_denoiser
from vml_fast.evaluation import ladder, throughput
from vml_fast.evaluation.ladder import Ladder, Rung
from vml_fast.evaluation.throughput import Measurement, Timings
from vml_fast.evaluation.throughput_figure import three_digits, throughput_figure
from vml_fast.evaluation.workload import make_workload
from vml_fast.reference import vml_map

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    prior = load_denoiser(save_prior(tmp_path_factory.mktemp("prior")))
    return make_workload(prior, "sr4", batch=2, steps=2, inner_steps=2)


def keys(chosen):
    return [rung.key for rung in chosen.rungs]


def test_the_ladder_of_a_cpu_with_and_without_bfloat16(monkeypatch):
    monkeypatch.setattr(ladder, "has_fast_bfloat16", lambda device: False)
    slow = ladder.ladder(CPU, skip=["compile"])
    assert keys(slow) == ["reference", "fused", "network"]
    assert set(slow.left_out) == {"bfloat16", "compile", "cuda-graph"}
    assert slow.left_out["compile"] == "not asked for"
    assert "no fast bfloat16" in slow.left_out["bfloat16"]
    monkeypatch.setattr(ladder, "has_fast_bfloat16", lambda device: True)
    monkeypatch.setattr(ladder.compiled, "obstacle", lambda device, product: None)
    fast = ladder.ladder(CPU, skip=["fused"])
    dtypes = {rung.key: rung.dtype for rung in fast.rungs}
    assert dtypes["reference"] is None
    assert dtypes["network"] == "float32"
    assert dtypes["bfloat16"] == dtypes["compile"] == "bfloat16"
    assert "fused" not in dtypes
    monkeypatch.setattr(ladder.compiled, "obstacle", lambda device, product: "no compiler")
    assert ladder.ladder(CPU).left_out["compile"] == "no compiler"


def test_a_gpu_records_on_top_of_everything(monkeypatch):
    monkeypatch.setattr(ladder, "has_fast_bfloat16", lambda device: True)
    monkeypatch.setattr(ladder.compiled, "obstacle", lambda device, product: None)
    chosen = ladder.ladder(torch.device("cuda"))
    assert keys(chosen) == list(ladder.KEYS)
    assert chosen.rungs[-1][2:] == ("bfloat16", True, True)
    plain = ladder.ladder(torch.device("cuda"), skip=["compile", "bfloat16", "network"])
    assert plain.rungs[-1][2:] == (None, False, True)


def test_the_reference_cannot_be_left_out():
    assert keys(ladder.ladder(CPU, skip=ladder.KEYS)) == ["reference"]


def test_every_rung_restores_the_images_of_the_reference(small):
    truth = vml_map(small.denoiser, small.operator, small.y, steps=2, inner_steps=2)
    allowed = {"reference": 0.0, "fused": 1e-4, "network": 1e-4, "bfloat16": 0.1}
    found = {}
    for key in allowed:
        rung = Rung(key, key, {"network": "float32", "bfloat16": "bfloat16"}.get(key))
        images = throughput.prepare(small, rung)()
        found[key] = float((images - truth).norm() / truth.norm())
        assert found[key] <= allowed[key], key
    assert found["bfloat16"] > 1e-3, "it rounds"


def test_the_backend_is_that_of_the_network_too(small, monkeypatch):
    solvers = []
    solver = type(small).solver

    def kept(self, denoiser, **options):
        solvers.append((denoiser.acceleration.backend, options["backend"]))
        return solver(self, denoiser, **options)

    monkeypatch.setattr(type(small), "solver", kept)
    throughput.prepare(small, Rung("network", "c", "float32"), "reference")
    assert solvers == [("reference", "reference")]


def test_every_rung_is_timed(small):
    chosen = ladder.ladder(CPU, skip=["compile"])
    found = throughput.compare(small, chosen, repeats=2)
    assert [m.rung.key for m in found.measured] == keys(chosen)
    for measurement in found.measured:
        assert len(measurement.seconds) == 2
        assert all(seconds > 0 for seconds in measurement.seconds)
        assert measurement.first_seconds > 0
    assert found.measured[0].difference == 0
    assert all(m.difference > 0 for m in found.measured[1:]), "they are other computations"


def test_repeats_alternate_and_the_median_is_what_was_slept(small, monkeypatch):
    order = []
    image = torch.ones(2, 3)
    naps = {"reference": 0.03, "fused": 0.01}

    def prepare(workload, rung, backend):
        def solve():
            order.append(rung.key)
            time.sleep(naps[rung.key])
            return image

        return solve

    monkeypatch.setattr(throughput, "prepare", prepare)
    chosen = Ladder((Rung("reference", "a"), Rung("fused", "b")), {})
    found = throughput.compare(small, chosen, repeats=3)
    assert order == ["reference"] * 2 + ["fused"] * 2 + ["reference", "fused"] * 3
    rows = found.rows()
    assert rows[0]["speed_up"] == 1
    assert rows[1]["speed_up"] == pytest.approx(3, rel=0.5)
    assert rows[1]["images_per_second"] == pytest.approx(2 / rows[1]["seconds"])
    assert rows[1]["milliseconds_per_inner_step"] == pytest.approx(1e3 * rows[1]["seconds"] / 4)


def test_a_rung_that_differs_or_fails_is_left_out_with_the_reason(small, monkeypatch):
    def prepare(workload, rung, backend):
        def solve():
            if rung.key == "network":
                raise RuntimeError("out of memory\nand more")
            return torch.ones(2) * (1.01 if rung.key == "fused" else 1.0)

        return solve

    monkeypatch.setattr(throughput, "prepare", prepare)
    rungs = (Rung("reference", "a"), Rung("fused", "b"), Rung("network", "c", "float32"))
    found = throughput.compare(small, Ladder(rungs, {"compile": "why not"}), repeats=1)
    assert [m.rung.key for m in found.measured] == ["reference"]
    assert found.left_out == {
        "compile": "why not",
        "fused": "its images differ by 1.0e-02",
        "network": "out of memory",
    }


def test_images_that_are_not_numbers_are_left_out(small, monkeypatch):
    def prepare(workload, rung, backend):
        return lambda: torch.full((2,), 1.0 if rung.is_reference else float("nan"))

    monkeypatch.setattr(throughput, "prepare", prepare)
    chosen = Ladder((Rung("reference", "a"), Rung("fused", "b")), {})
    assert "differ by nan" in throughput.compare(small, chosen, repeats=1).left_out["fused"]


def test_a_reference_that_fails_is_an_error(small, monkeypatch):
    def prepare(workload, rung, backend):
        raise RuntimeError("no")

    monkeypatch.setattr(throughput, "prepare", prepare)
    with pytest.raises(RuntimeError, match="no"):
        throughput.compare(small, ladder.ladder(CPU), repeats=1)


def test_a_slow_minute_that_hits_a_pair_leaves_its_ratio():
    assert throughput.paired_ratio([2.0, 20.0, 2.0], [1.0, 10.0, 9.0]) == 2.0
    with pytest.raises(ValueError, match="shorter"):
        throughput.paired_ratio([1.0, 2.0], [1.0])


def test_warm_up_is_what_the_first_solve_took_longer():
    found = Measurement(Rung("fused", "b"), seconds=[1.0, 2.0, 9.0], first_seconds=5.0)
    assert (found.median, found.warm_up_seconds) == (2.0, 3.0)
    found.first_seconds = 1.0
    assert found.warm_up_seconds == 0.0


def test_the_chart_has_a_bar_per_rung_as_long_as_its_speed_up():
    measured = [
        Measurement(Rung("reference", "plain PyTorch"), [4.0]),
        Measurement(Rung("fused", "+ fused ops"), [2.0]),
        Measurement(Rung("network", "+ fused network", "float32"), [1.0]),
    ]
    rows = Timings(measured, {}, batch=8, total_steps=20).rows()
    figure = throughput_figure(rows, title="Some machine", subtitle="a solve", note="small print")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [1.0, 2.0, 4.0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [r["label"] for r in rows]
    texts = [text.get_text() for text in axes.texts]
    assert [t.strip() for t in texts[::2]] == ["1.00×", "2.00×", "4.00×"]
    assert "50 ms per inner step" in texts[5]
    assert "Some machine" in figure.get_suptitle()
    assert three_digits(2813.7) == "2814"
    assert three_digits(0.01234) == "0.0123"
    colors = [bar.get_facecolor() for bar in axes.patches]
    assert colors[0] != colors[1]
    assert all(a == b for a, b in itertools.pairwise(colors[1:]))
