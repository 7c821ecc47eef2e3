"""Records become tables and pictures, and the table of the fastest backends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import fastest, report
from benchmarks.records import Measured, load
from tests.benchmarks.records import write_records
from vml_fast.ops.fastest import FASTEST, rules


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_records(tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def pages(results: Path, tmp_path: Path) -> Path:
    pytest.importorskip("matplotlib")
    report.main(["--results", str(results), "--pages", str(tmp_path / "pages")])
    return tmp_path / "pages"


def test_promises_say_whether_they_are_met(pages: Path) -> None:
    page = (pages / "some-machine.md").read_text()
    assert "| speed-up of mask | 3.50 | at least 2.00 | yes |" in page
    assert "| time over FFTs | 1.50 | at most 1.25 | **no** |" in page
    index = (pages / "README.md").read_text()
    assert "| [Some Processor, 2 threads](some-machine.md) | 2.13.0 | 1 of 2 |" in index
    assert "GPU: not measured yet." in index


def test_tables_hold_times_ratios_and_launches(pages: Path) -> None:
    page = (pages / "some-machine.md").read_text()
    assert "| 256², batch 8, float32, NCHW: C++ | 500 ms | 4.0× | 50% |  |" in page
    assert "| mask, 256² | 20.0 ms | 70.0 ms | 3.5× | 70% |" in page
    assert "| random70 | 15 | 2 |" in page
    assert "commit 0123456789\n" in page


def test_pictures_are_drawn_and_linked(pages: Path) -> None:
    name = "some-machine-float32-nchw.png"
    assert f"]({name})" in (pages / "some-machine.md").read_text()
    colors = Image.open(pages / name).convert("RGB").getcolors(2**24)
    assert colors is not None
    assert (0x25, 0x63, 0xEB) in {color for _, color in colors}  # a bar of the C++ backend


def test_backends_are_ranked_over_all_cases(results: Path) -> None:
    """`update`: slower on one case by 2.5, faster on the other by 2; the product decides."""
    table = json.loads(FASTEST.read_text())
    machine = load(results / "some-machine")
    found = fastest.with_measurements(table, machine)
    assert found["cpu"]["ops"]["mask_bracket"] == [{"order": ["cpp", "reference"]}]
    assert found["cpu"]["ops"]["update"][-1] == {"order": ["reference", "cpp"]}
    assert found["cpu"]["measured_on"] == "Some Processor, 2 threads, torch 2.13.0"
    assert found["cuda"] == table["cuda"]


def test_other_sizes_and_formats_have_rules_of_their_own() -> None:
    """Times of (reference, cpp) per format and size; a few percent do not count."""

    def case(elements: int, reference: float, cpp: float, dtype: str = "float32") -> Measured:
        image = {"dtype": dtype, "memory_format": "nchw", "elements": elements}
        return {
            name: {"stats": {"median": seconds}, "extra_info": {"image": image}}
            for name, seconds in (("reference", reference), ("cpp", cpp))
        }

    cases = [
        case(100_000, 8.0, 1.0),
        case(10, 1.0, 2.0),
        case(1000, 1.0, 1.04),
        case(10, 4.0, 1.0, "bfloat16"),
    ]
    about = {"dtype": "float32", "memory_format": "nchw"}
    assert fastest.rules(cases) == [
        {"order": ["reference", "cpp"], **about, "elements": 100},
        {"order": ["cpp", "reference"], **about, "elements": None},
        {"order": ["cpp", "reference"]},
    ]
    assert fastest.rules(cases[::3]) == [{"order": ["cpp", "reference"]}]


def test_the_written_table_is_read_back(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "fastest.json"
    copy.write_text(FASTEST.read_text())
    given = ["--results", str(results), "--machine", "some-machine", "--table", str(copy)]
    fastest.main(given)
    written = json.loads(copy.read_text())
    assert '"order": ["reference", "cpp"]}' in copy.read_text()
    monkeypatch.setattr("vml_fast.ops.fastest._table", lambda: written)
    small, large, rest = rules("update", "cpu")
    assert small.order == ("cpp", "reference") and small.elements == 49152
    assert large.order == rest.order == ("reference", "cpp") and large.elements is None
    assert (small.dtype, small.memory_format) == ("float32", "nchw")


def test_a_foreign_file_among_the_records_is_refused(results: Path) -> None:
    (results / "some-machine" / "other.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"other\.json"):
        load(results / "some-machine")
