"""The peak of a piece of work is that of an allocation of known size."""

import pytest
import torch

from vml_fast.evaluation import memory

CPU = torch.device("cpu")
MIB = 2**20


@pytest.mark.skipif(not memory.STATUS.exists(), reason="this system has no /proc")
def test_an_allocation_of_known_size_is_seen():
    before = memory.in_use(CPU)
    peak = memory.peak_bytes(lambda: torch.ones(64 * MIB // 4), CPU)
    if peak is None:
        pytest.skip("this kernel does not reset the peak of a process")
    assert 60 * MIB < peak - before < 80 * MIB
    later = memory.peak_bytes(lambda: torch.ones(8 * MIB // 4), CPU)
    assert later - before < 40 * MIB, "an earlier peak is not counted again"


def test_the_work_is_done_where_no_one_tells(monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(memory, "RESET", tmp_path / "no folder" / "file")
    assert memory.peak_bytes(lambda: done.append(1), CPU) is None
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert memory.peak_bytes(lambda: done.append(1), CPU) is None
    assert memory.in_use(CPU) is None
    assert done == [1, 1]
