"""The table of the fastest backends: its rules, and the choice by an image where they differ."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from vml_fast.ops import BACKENDS, OPS, backends, fastest, resolve
from vml_fast.ops.fastest import Rule

TABLE = {
    "cpu": {
        "measured_on": "Some Processor",
        "default": ["cpp", "reference"],
        "ops": {
            "fwht": [{"order": ["triton", "reference", "cpp"]}],
            "update": [
                {
                    "order": ["reference", "cpp"],
                    "dtype": "bfloat16",
                    "memory_format": "nchw",
                    "elements": 100,
                },
                {"order": ["cpp"], "dtype": "bfloat16", "memory_format": "nchw"},
                {"order": ["reference"], "dtype": "float32", "memory_format": "channels_last"},
                {"order": ["cpp", "reference"]},
            ],
        },
    }
}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up table; Triton does not run; an implementation is a function that tells its name."""

    def named(op: backends.Op, backend: str) -> Any:
        return lambda *_: backend

    monkeypatch.delenv("VML_FAST_BACKEND", raising=False)
    monkeypatch.setattr(fastest, "_table", lambda: TABLE)
    monkeypatch.setattr(backends, "_implementation", named)
    monkeypatch.setattr(backends, "_why_not", lambda name, _: {"triton": "no"}.get(name))


def chosen(name: str, image: Tensor, kind: str = "cpu") -> str:
    """What "auto" runs for an image at the place where the op has it."""
    op = OPS[name]
    arguments = [None] * 5
    arguments[op.image or 0] = image
    return resolve(name, "auto", kind)(*arguments)


def image(elements: int, dtype: torch.dtype = torch.float32, *, last: bool = False) -> Tensor:
    t = torch.empty(1, 2, elements // 2, 1, dtype=dtype)
    return t.permute(0, 3, 2, 1) if last else t


def test_an_op_of_its_own_the_default_and_an_unmeasured_device(table: None) -> None:
    assert chosen("fwht", image(8)) == "reference"  # Triton would be first, but does not run
    assert chosen("mask_bracket", image(8)) == "cpp"
    assert chosen("mask_bracket", image(8), "meta") == "reference"


@pytest.mark.parametrize(
    ("elements", "dtype", "last", "expected"),
    [
        (100, torch.bfloat16, False, "reference"),
        (102, torch.bfloat16, False, "cpp"),
        (100, torch.bfloat16, True, "cpp"),  # no rule but the last one
        (100, torch.float16, False, "cpp"),
        (10**4, torch.float32, True, "reference"),
        (10**4, torch.float32, False, "cpp"),
        (0, torch.bfloat16, False, "reference"),
    ],
)
def test_rules_look_at_dtype_layout_and_size(
    table: None, elements: int, dtype: torch.dtype, last: bool, expected: str
) -> None:
    """Of the network's tensor, which is the third argument of `update`."""
    assert chosen("update", image(elements, dtype, last=last)) == expected


def test_where_all_rules_agree_there_is_no_detour(
    table: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without C++ every rule ends at the reference, which is then called directly."""
    monkeypatch.setattr(backends, "_implementation", lambda op, backend: backend)
    monkeypatch.setattr(backends, "_why_not", lambda name, _: None if name == "reference" else "no")
    assert resolve("update", "auto", "cpu") == "reference"


def test_the_choice_is_traced_whole() -> None:
    """`torch.compile` follows it without a break, and again for another size."""
    choices = [(Rule(("a",), "float32", "nchw", 4), torch.sin), (Rule(("b",)), torch.cos)]
    run = torch.compile(fastest.by_image(choices, 0), fullgraph=True, backend="eager")
    for elements, expected in ((4, torch.sin), (6, torch.cos)):
        x = torch.randn(1, 1, 1, elements)
        assert torch.equal(run(x), expected(x))


def test_the_table_in_words(table: None) -> None:
    assert fastest.summary("cpu") == ("triton for 1 ops, by dtype, layout and size for update")
    assert fastest.summary("meta") == "reference for every op"
    assert fastest.measured_on("cpu") == "measured on Some Processor"
    assert fastest.measured_on("meta") == "not measured yet"


def test_the_table_in_the_package_is_sound() -> None:
    """It names ops and backends, conditions that can hold, and ends with a rule for all images."""
    found = json.loads(fastest.FASTEST.read_text(encoding="utf-8"))
    resolve("update", "reference")  # fills the registry
    assert set(found) == {"cpu", "cuda"}
    for kind, allowed in (("cpu", {"cpp", "reference"}), ("cuda", set(BACKENDS) - {"cpp"})):
        part = found[kind]
        assert bool(part["measured_on"]) == bool(part["ops"])
        assert set(part["ops"]) <= set(OPS)
        for rows in (*part["ops"].values(), [{"order": part["default"]}]):
            for row in rows:
                assert set(row) <= set(Rule._fields)
                assert set(row["order"]) <= allowed and len(set(row["order"])) == len(row["order"])
                assert isinstance(getattr(torch, row.get("dtype") or "float32"), torch.dtype)
                assert row.get("memory_format") in (None, "nchw", "channels_last")
            assert set(rows[-1]) == {"order"}
