"""A made-up record of two ops, an inner step and two promises, in the form that a run writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MACHINE = {"device": "Some Processor, 2 threads", "kind": "cpu", "torch": "2.13.0"}
PARAMETERS = {"size": 256, "batch": 8, "dtype": "float32", "memory_format": "nchw"}


def op_entry(op: str, backend: str, seconds: float, **parameters: Any) -> dict[str, Any]:
    """One case of one op."""
    params = {**PARAMETERS, **parameters, "backend": backend}
    image = {"dtype": "float32", "memory_format": "nchw", "elements": 3 * params["size"] ** 2}
    return {
        "group": op,
        "name": f"test_{op}",
        "params": params,
        "extra_info": {"share_of_copy_bandwidth": 0.25 / seconds, "image": image},
        "stats": {"median": seconds},
    }


def step_entry() -> dict[str, Any]:
    """An inner step with a promise that is met and one that is not."""
    claims = [
        {"text": "speed-up of mask", "value": 3.5, "bound": "at least", "wanted": 2.0},
        {"text": "time over FFTs", "value": 1.5, "bound": "at most", "wanted": 1.25},
    ]
    info = {"claims": claims, "baseline_seconds": 0.07, "size": 256, "speed_up": 3.5}
    return {
        "group": "inner step",
        "params": {"family": "mask", "size": 256},
        "extra_info": {**info, "share_of_copy_bandwidth": 0.7},
        "stats": {"median": 0.02},
    }


def write_records(results: Path, tag: str = "some-machine") -> Path:
    """A folder of records; returns the machine's."""
    entries = [
        op_entry("mask_bracket", "reference", 2.0),
        op_entry("mask_bracket", "cpp", 0.5),
        op_entry("update", "cpp", 1.0),
        op_entry("update", "reference", 0.4),
        op_entry("update", "cpp", 1.0, size=64),
        op_entry("update", "reference", 2.0, size=64),
        step_entry(),
    ]
    launches = [
        {"task": "random70", "noise_std": 0.0, "backend": backend, "launches": count}
        for backend, count in (("reference", 15), ("cpp", 2))
    ]
    folder = results / tag
    folder.mkdir(parents=True)
    commit = {"id": "0123456789abcdef", "time": "", "dirty": False}
    record = {"machine_info": MACHINE, "commit_info": commit, "benchmarks": entries}
    (folder / "brackets.json").write_text(json.dumps(record))
    (folder / "launches.json").write_text(
        json.dumps({"machine_info": MACHINE, "launches": launches})
    )
    return folder
