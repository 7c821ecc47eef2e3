"""What cheaper arithmetic costs in quality: PSNR of whole solves, for every task.

    python -m benchmarks.precision      # half an hour on a CPU without fast bfloat16; it resumes

compares bfloat16, and the two cheaper products with the Jacobian, with float32 and the exact VJP.
It writes `docs/results/precision-emoji64/`: the record, solve by solve, and the table made of it.
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
from vml_fast.evaluation.files import write_json, write_whole
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.metrics import psnr
from vml_fast.evaluation.tables import markdown
from vml_fast.operators import TASKS, task

FOLDER = Path(__file__).parents[1] / "docs" / "results" / "precision-emoji64"
PRIOR, EXACT = "emoji64", "float32"
ALLOWED = 0.1
"""dB of mean PSNR by which bfloat16 may differ from float32."""
EIGHT_BITS = 58.9
"""PSNR, dB, of rounding to 8 bits: 10 log10(2² / MSE) with MSE = (2 / 255)² / 12."""
VARIANTS: dict[str, tuple[str, str]] = {
    EXACT: ("float32", "vjp"),
    "bfloat16": ("bfloat16", "vjp"),
    "jvp": ("float32", "jvp"),
    "finite_difference": ("float32", "finite_difference"),
}
"""Name to the network's precision and the product with its Jacobian."""
CHOSEN = tuple(name for name in TASKS if name != "inpaint")  # it takes a mask of the user's

Found = dict[str, Any]


def noise_of(name: str) -> float:
    """sigma_y of a task: without noise, but for the one that is about noise."""
    return 0.1 if name == "denoise" else 0.0


def measure(name: str, variant: str, images: int, steps: int, inner_steps: int) -> list[float]:
    """PSNR of each image, with the same seeds in every variant."""
    dtype, jacobian = VARIANTS[variant]
    truth = heldout_emoji(limit=images)[1].to(DEVICE)
    operator, noise_std = task(name, tuple(truth.shape[1:])), noise_of(name)
    y = operator.forward(truth)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    y = y + noise_std * noise.to(y)
    prior = vf.accelerate(vf.load_denoiser(PRIOR, device=DEVICE), dtype)
    settings = {"noise_std": noise_std, "steps": steps, "inner_steps": inner_steps}
    image = vf.restore(y, operator, prior, jacobian=jacobian, **settings).image
    return psnr(image.clamp(-1, 1), truth).tolist()


def difference(found: Found, variant: str) -> float:
    """Mean PSNR of a variant minus that of float32 and the VJP."""
    return statistics.mean(found[variant]) - statistics.mean(found[EXACT])


def is_as_good(found: Found, variant: str) -> bool:
    """Whether the difference is small, or one that no picture of 8 bits can hold."""
    worst = min(statistics.mean(found[v]) for v in (EXACT, variant))
    return abs(difference(found, variant)) <= ALLOWED or worst > EIGHT_BITS


def page(record: Found) -> str:
    """The table of a record, as Markdown."""
    about, settings, tasks = record["machine_info"], record["settings"], record["tasks"]
    others = [variant for variant in VARIANTS if variant != EXACT]
    header = ("task", "σ_y", "PSNR, dB", *(variant.replace("_", " ") for variant in others))
    rows = [
        (
            name,
            f"{found['noise_std']:g}",
            f"{statistics.mean(found[EXACT]):.2f}",
            *(f"{difference(found, v):+.3f}" if v in found else "" for v in others),
        )
        for name, found in tasks.items()
    ]
    return "\n".join(
        [
            "# Cheaper arithmetic on emoji64\n",
            f"Mean PSNR over {settings['images']} held-out emoji by `vml-map-pre` with N = "
            f"{settings['steps']} and K = {settings['inner_steps']}, the accelerated network in "
            "float32 and the exact VJP; then what is gained or lost with the network in bfloat16, "
            "and with the two other products with its Jacobian (float32). The same seeds. An image "
            f"above {EIGHT_BITS} dB is nearer to the truth than the truth's own picture of 8 bits: "
            "what it gains or loses there cannot be seen.\n",
            *(summary(tasks, variant) for variant in others),
            f"\nMeasured on {about['device']}, torch {about['torch']}; written by "
            "`python -m benchmarks.precision`.\n",
            markdown(header, rows),
        ]
    )


def summary(tasks: dict[str, Found], variant: str) -> str:
    """A line on a variant: its median difference, and how often it is as good."""
    measured = [found for found in tasks.values() if variant in found]
    if not measured:
        return f"* {variant}: not measured yet"
    median = statistics.median(difference(found, variant) for found in measured)
    good = sum(is_as_good(found, variant) for found in measured)
    return (
        f"* {variant}: median {median:+.3f} dB over tasks; within {ALLOWED} dB, or above "
        f"{EIGHT_BITS} dB, in {good} of {len(measured)}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing, and write the record and its page after each solve."""
    parser = argparse.ArgumentParser(description="Compare precisions and Jacobian products.")
    parser.add_argument("--images", type=int, default=4, help="held-out emoji")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--inner-steps", type=int, default=5)
    parser.add_argument("--task", action="append", choices=CHOSEN, help="only these")
    parser.add_argument("--output", type=Path, default=FOLDER)
    given = parser.parse_args(arguments)
    settings = {key: getattr(given, key) for key in ("images", "steps", "inner_steps")}
    record: Found = {"machine_info": machine_record(), "settings": settings, "tasks": {}}
    path = given.output / "precision.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if (before["machine_info"], before["settings"]) == (record["machine_info"], settings):
            record = before
    given.output.mkdir(parents=True, exist_ok=True)
    for variant in VARIANTS:
        for name in given.task or CHOSEN:
            found = record["tasks"].setdefault(name, {"noise_std": noise_of(name)})
            if variant in found:
                continue
            found[variant] = measure(name, variant, **settings)
            print(name, variant, f"{difference(found, variant):+.3f} dB", flush=True)
            write_json(path, record)
            write_whole(given.output / "README.md", lambda file: file.write(page(record).encode()))
    print(given.output)


if __name__ == "__main__":
    main()
