"""Nothing is lost or mixed: resuming, several workers, other weights, damaged files."""

import json
import subprocess
import sys
import threading

import pytest
import torch

from tests.evaluation.comparison.problems import PROVENANCE, cell, cells, runner
from vml_fast.errors import InputError
from vml_fast.evaluation.comparison.cell_runner import Outcome
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.comparison.run import run_cells
from vml_fast.evaluation.comparison.store import Store


def without_seconds(store):
    records = store.records()
    return {name: {k: v for k, v in r.items() if k != "seconds"} for name, r in records.items()}


def test_a_killed_run_resumes_and_equals_the_uninterrupted_one(tmp_path):
    whole, broken = Store(tmp_path / "whole", PROVENANCE), Store(tmp_path / "broken", PROVENANCE)
    run_cells(cells(), runner(), whole)
    setting = runner()
    plain, calls = setting.run, []

    def run(one):
        calls.append(one)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(one)

    setting.run = run
    with pytest.raises(KeyboardInterrupt):
        run_cells(cells(), setting, broken)
    assert len(broken.records()) == 3
    assert run_cells(cells(), runner(), Store(tmp_path / "broken", PROVENANCE)) == 3
    assert without_seconds(broken) == without_seconds(whole)
    assert not list((tmp_path / "broken").rglob("*.lock"))


def test_the_merged_file_alone_is_a_whole_record(tmp_path):
    store = Store(tmp_path, PROVENANCE)
    run_cells(cells(), runner(), store)
    assert store.merge(cells()) == len(cells())
    before = without_seconds(store)
    for path in store.cells.glob("*"):
        path.unlink()
    again = Store(tmp_path, PROVENANCE)
    assert run_cells(cells(), runner(), again) == 0
    found = without_seconds(again)
    assert found.keys() == before.keys()
    assert all(found[name]["metrics"] == before[name]["metrics"] for name in found)
    assert json.loads((tmp_path / "results.json").read_text())["provenance"] == PROVENANCE


def test_merging_loses_nothing_that_another_process_finished(tmp_path):
    store = Store(tmp_path, PROVENANCE)
    store.save(cell("half"), {"metrics": {}}, None)
    store.merge([cell("half")])
    (next(store.cells.glob("*.json"))).unlink()
    store.save(cell("sr4"), {"metrics": {}}, None)
    assert store.merge([cell("sr4")]) == 1
    assert {r["cell"]["task"] for r in store.records().values()} == {"half", "sr4"}


def test_two_workers_share_the_cells(tmp_path):
    """Each cell is run once, by whoever locks it first."""
    todo = [Cell("half", "ddrm", 0.0, 20, 1, {"steps": i + 1}) for i in range(12)]
    ran, gate = [], threading.Barrier(2)

    class Slow:
        def run(self, one):
            ran.append(one)
            gate_wait(gate)
            return Outcome({"metrics": {}}, None)

    def gate_wait(barrier):
        try:
            barrier.wait(timeout=0.2)
        except threading.BrokenBarrierError:
            barrier.reset()

    def work():
        run_cells(todo, Slow(), Store(tmp_path, PROVENANCE))

    workers = [threading.Thread(target=work) for _ in range(2)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert sorted(one.settings["steps"] for one in ran) == list(range(1, 13))
    assert len(Store(tmp_path, PROVENANCE).records()) == 12


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.evaluation.comparison.problems import PROVENANCE, cell\n"
        "from vml_fast.evaluation.comparison.store import Store\n"
        "with Store(Path(sys.argv[1]), PROVENANCE).claim(cell()) as mine:\n"
        "    assert mine\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    assert killed.returncode == -9
    store = Store(tmp_path, PROVENANCE)
    assert list(store.cells.glob("*.lock"))
    with store.claim(cell()) as mine:
        assert mine
        with Store(tmp_path, PROVENANCE).claim(cell()) as other:
            assert not other


def test_a_lock_whose_file_was_just_removed_is_not_held(tmp_path, monkeypatch):
    """Its holder may have finished the cell and left between our opening and our locking."""
    store = Store(tmp_path, PROVENANCE)

    def removed_before(lock, how):
        next(store.cells.glob("*.lock")).unlink()

    monkeypatch.setattr("vml_fast.evaluation.comparison.store.fcntl.flock", removed_before)
    with store.claim(cell()) as mine:
        assert not mine


def test_what_failed_is_tried_again(tmp_path):
    store, outcomes = Store(tmp_path, PROVENANCE), [{"failed": "no model"}, {"metrics": {}}]

    class Mended:
        def run(self, one):
            return Outcome(outcomes.pop(0), None)

    for _ in range(3):
        run_cells([cell()], Mended(), store)
        store.merge([cell()])
    assert outcomes == [] and store.record(cell())["metrics"] == {}


def test_no_cell_is_begun_after_the_time(tmp_path):
    assert run_cells(cells(), runner(), Store(tmp_path, PROVENANCE), max_seconds=0) == 0


def test_records_of_other_weights_are_refused_and_replaced_only_on_request(tmp_path):
    store = Store(tmp_path, PROVENANCE)
    store.save(cell(), {"metrics": {}}, torch.zeros(4, 3, 12, 12))
    store.merge([cell()])
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "old.png").touch()
    changed = PROVENANCE | {"prior": "another"}
    with pytest.raises(InputError, match="prior 'mixture', now it is 'another'"):
        Store(tmp_path, changed)
    assert len(store.records()) == 1
    assert not Store(tmp_path, changed, overwrite=True).records()
    assert not list(store.cells.iterdir())
    assert not list((tmp_path / "figures").iterdir())


def test_restorations_are_kept_as_pictures(tmp_path):
    store = Store(tmp_path, PROVENANCE)
    images = torch.linspace(-1, 1, 9).reshape(9, 1, 1, 1).expand(9, 3, 12, 12)
    for count in (2, 9):  # of a set that no picture could hold, the first ones
        store.save(cell(images=count), {"metrics": {}}, images[:count])
        kept = store.images(cell(images=count))
        torch.testing.assert_close(kept, images[: min(count, 4)], atol=1 / 127, rtol=0)
    assert store.images(cell("sr4")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"provenance": 3}', '{"provenance": {}}'])
def test_a_damaged_record_is_one_sentence(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match="is not the record of a comparison"):
        Store(tmp_path, PROVENANCE)


def test_a_cell_is_named_by_all_that_makes_it():
    one = cell()
    names = {
        one.name(PROVENANCE),
        one.name(PROVENANCE | {"seed": 1}),
        cell(images=2).name(PROVENANCE),
        cell(steps=4, inner_steps=3).name(PROVENANCE),
        Cell(**(one.identity() | {"assumed_noise_std": 0.0})).name(PROVENANCE),
    }
    assert len(names) == 5
    assert Cell(**json.loads(json.dumps(one.identity()))).name(PROVENANCE) == one.name(PROVENANCE)
