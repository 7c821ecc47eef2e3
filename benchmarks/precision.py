"""What bfloat16 costs in quality: PSNR of whole solves against float32, for every task.

    python -m benchmarks.precision      # half an hour on a CPU without fast bfloat16; it resumes

writes `docs/results/precision-emoji64/`: the record, task by task, and the table made of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch

import vml_fast as vf
from benchmarks.machine import DEVICE, machine_record
from vml_fast.cli.tables import markdown
from vml_fast.evaluation.files import write_json, write_whole
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.metrics import psnr
from vml_fast.operators import TASKS, task

FOLDER = Path(__file__).parents[1] / "docs" / "results" / "precision-emoji64"
PRIOR, DTYPES = "emoji64", ("float32", "bfloat16")
ALLOWED = 0.1
"""dB of mean PSNR by which bfloat16 may differ from float32."""
CHOSEN = tuple(name for name in TASKS if name != "inpaint")  # it takes a mask of the user's
COLUMNS = ("task", "σ_y", "float32, dB", "bfloat16, dB", "difference, dB", "images differ by, dB")


def noise_of(name: str) -> float:
    """sigma_y of a task: without noise, but for the one that is about noise."""
    return 0.1 if name == "denoise" else 0.0


def measure(name: str, images: int, steps: int, inner_steps: int) -> dict[str, Any]:
    """PSNR of each image with both precisions, the same seeds."""
    _, truth = heldout_emoji(limit=images)
    truth = truth.to(DEVICE)
    operator, noise_std = task(name, tuple(truth.shape[1:])), noise_of(name)
    y = operator.forward(truth)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    y = y + noise_std * noise.to(y)
    settings = {"noise_std": noise_std, "steps": steps, "inner_steps": inner_steps}
    found: dict[str, Any] = {"noise_std": noise_std}
    for dtype in DTYPES:
        prior = vf.accelerate(vf.load_denoiser(PRIOR, device=DEVICE), dtype)
        image = vf.restore(y, operator, prior, **settings).image
        found[dtype] = psnr(image.clamp(-1, 1), truth).tolist()
    return found


def page(record: dict[str, Any]) -> str:
    """The table of a record, as Markdown."""
    about, settings = record["machine_info"], record["settings"]
    rows = [row(name, found) for name, found in record["tasks"].items()]
    differences = [abs(difference(found)) for found in record["tasks"].values()]
    within = sum(value <= ALLOWED for value in differences)
    return "\n".join(
        [
            "# emoji64 in bfloat16\n",
            f"Mean PSNR over {settings['images']} held-out emoji by `vml-map-pre` with N = "
            f"{settings['steps']} and K = {settings['inner_steps']}, the network accelerated in "
            "float32 and in bfloat16, the same seeds. The last column is the mean difference of "
            "single images, whichever is better.\n"
            f"Within {ALLOWED} dB in {within} of {len(rows)} tasks; the mean over tasks of the "
            f"difference is {mean_difference(record):+.3f} dB.\n"
            f"Measured on {about['device']}, torch {about['torch']}; written by "
            "`python -m benchmarks.precision`.\n",
            markdown(COLUMNS, rows),
        ]
    )


def difference(found: dict[str, Any]) -> float:
    """Mean PSNR of bfloat16 minus that of float32."""
    return statistics.mean(found["bfloat16"]) - statistics.mean(found["float32"])


def mean_difference(record: dict[str, Any]) -> float:
    """Over all tasks."""
    return statistics.mean(difference(found) for found in record["tasks"].values())


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    pairs = zip(found["bfloat16"], found["float32"], strict=True)
    apart = statistics.mean(abs(a - b) for a, b in pairs)
    means = (f"{statistics.mean(found[dtype]):.2f}" for dtype in DTYPES)
    return name, f"{found['noise_std']:g}", *means, f"{difference(found):+.3f}", f"{apart:.3f}"


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing, and write the record and its page after each task."""
    parser = argparse.ArgumentParser(description="Compare bfloat16 with float32 on every task.")
    parser.add_argument("--images", type=int, default=4, help="held-out emoji")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--inner-steps", type=int, default=5)
    parser.add_argument("--task", action="append", choices=CHOSEN, help="only these")
    parser.add_argument("--output", type=Path, default=FOLDER)
    given = parser.parse_args(arguments)
    settings = {key: getattr(given, key) for key in ("images", "steps", "inner_steps")}
    record: dict[str, Any] = {"machine_info": machine_record(), "settings": settings, "tasks": {}}
    path = given.output / "precision.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if (before["machine_info"], before["settings"]) == (record["machine_info"], settings):
            record["tasks"] = before["tasks"]
    given.output.mkdir(parents=True, exist_ok=True)
    for name in given.task or CHOSEN:
        if name in record["tasks"]:
            continue
        record["tasks"][name] = measure(name, **settings)
        print(name, f"{difference(record['tasks'][name]):+.3f} dB", flush=True)
        write_json(path, record)
        write_whole(given.output / "README.md", lambda file: file.write(page(record).encode()))
    print(given.output)


if __name__ == "__main__":
    main()
