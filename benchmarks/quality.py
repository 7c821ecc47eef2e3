"""Quality of VML-MAP on 16 held-out emoji: PSNR, SSIM, residual, per method, task and noise level.

    python benchmarks/quality.py            # fills docs/results/emoji64.json, then draws the tables
    python benchmarks/quality.py --report   # draws the tables alone

Finished cells are kept: a killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.interpolate import griddata
from torch import Tensor

import vml_fast as vf
from vml_fast.evaluation.files import write_whole
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.metrics import psnr, ssim
from vml_fast.ops.philox import normal

RECORD = Path(__file__).parents[1] / "docs" / "results" / "emoji64.json"
PRIOR = "emoji64"
IMAGES = 16
MEASUREMENT_DRAW = 2**31 - 1
TASKS = ("sr4", "half", "random70", "deblur-gauss", "deblur-motion")
BUDGET_TASKS = ("sr4", "half", "random70")
NOISELESS = ("vml-map", "vml-map-pre")
NOISY = ("vml-map", "vml-map-pre", "vml-map-tau", "vml-map-tau-pre")
AS_IF_NOISELESS = "vml-map-pre as if noiseless"
BASELINES = ("pseudo-inverse", "bicubic")


class Cell(NamedTuple):
    """One entry of the tables."""

    task: str
    method: str
    noise_std: float
    inner_steps: int

    @property
    def key(self) -> str:
        """Its name in the record."""
        return f"{self.task} {self.method} {self.noise_std:g} 20x{self.inner_steps}"


def cells() -> Iterator[Cell]:
    """All cells, what is asked for most first."""
    for noise_std in (0.0, 0.05):
        for task in TASKS:
            for baseline in BASELINES:
                yield Cell(task, baseline, noise_std, 0)
    for tasks in (TASKS[:4], TASKS[4:]):
        for task in tasks:
            for method in NOISELESS:
                yield Cell(task, method, 0.0, 10)
            for method in NOISY:
                yield Cell(task, method, 0.05, 10)
        for task in tasks:  # what the noise model is worth
            yield Cell(task, AS_IF_NOISELESS, 0.05, 10)
        if tasks == TASKS[:4]:
            for inner_steps in (5, 50):
                for task in BUDGET_TASKS:
                    yield Cell(task, "vml-map-pre", 0.0, inner_steps)


def chosen_emoji() -> tuple[list[str], Tensor]:
    """Every fifth or sixth held-out emoji: 16 spread evenly over the sorted names."""
    names, images = heldout_emoji()
    rows = [i * len(names) // IMAGES for i in range(IMAGES)]
    return [names[i] for i in rows], images[rows]


def measure(operator: vf.operators.LinearOperator, truth: Tensor, noise_std: float) -> Tensor:
    """y = H x + noise_std n with noise that depends on the image alone."""
    clean = operator(truth)
    zeros, index = torch.zeros(len(truth), dtype=torch.int64), torch.arange(len(truth))
    noise = normal(tuple(clean.shape), seed=zeros, sample=index, draw=MEASUREMENT_DRAW)
    noisy = clean + noise_std * noise
    mask = operator.data.get("mask")
    return noisy if mask is None else noisy * mask.to(noisy)


def bicubic(operator: vf.operators.LinearOperator, y: Tensor) -> Tensor:
    """What interpolation alone gives: cubic in space for missing pixels, nothing against a blur."""
    if y.shape[1:] != tuple(operator.image_shape):
        size = operator.image_shape[1:]
        return torch.nn.functional.interpolate(y, size=size, mode="bicubic", antialias=False)
    mask = operator.data.get("mask")
    if mask is None:
        return y
    return torch.stack([_fill(image, mask.reshape(mask.shape[-2:])) for image in y])


def _fill(image: Tensor, mask: Tensor) -> Tensor:
    known, points = mask.bool().numpy(), np.indices(mask.shape)
    inside, everywhere = points[:, known].T, points.reshape(2, -1).T
    channels = []
    for channel in image.numpy():
        nearest = griddata(inside, channel[known], everywhere, method="nearest")
        cubic = griddata(inside, channel[known], everywhere, method="cubic")
        channels.append(np.where(np.isnan(cubic), nearest, cubic).reshape(mask.shape))
    return torch.from_numpy(np.stack(channels)).to(image)


def run(cell: Cell, prior: Any, truth: Tensor) -> dict[str, Any]:
    """Restore 16 images in one batch and measure them."""
    operator = vf.operators.task(cell.task, tuple(truth.shape[1:]))
    y = measure(operator, truth, cell.noise_std)
    passes = seconds = 0.0
    if cell.method == "pseudo-inverse":
        image = operator.pseudo_inverse(y)
    elif cell.method == "bicubic":
        image = bicubic(operator, y)
    else:
        method, _, noiseless = cell.method.partition(" as if ")
        result = vf.restore(
            y,
            operator,
            prior,
            method=method,
            noise_std=0.0 if noiseless else cell.noise_std,
            steps=20,
            inner_steps=cell.inner_steps,
            progress=True,
        )
        image, passes, seconds = result.image, result.network_passes, result.seconds
    picture = image.clamp(-1, 1)
    return {
        **cell._asdict(),
        "psnr": psnr(picture, truth).tolist(),
        "ssim": ssim(picture, truth).tolist(),
        "residual": operator.residual(image, y).tolist(),
        "network_passes": passes,
        "seconds": round(seconds, 1),
    }


def fingerprint() -> str:
    """Of the prior's weights, so that records of different weights are never mixed."""
    folder = Path(vf.denoisers.__file__).parent / "priors" / PRIOR
    weights = (folder / "diffusion_pytorch_model.safetensors").read_bytes()
    return hashlib.sha256(weights).hexdigest()[:16]


def load_record() -> dict[str, Any]:
    """The record so far, or a new one if the prior changed."""
    fresh = {"prior": PRIOR, "weights_sha256": fingerprint(), "torch": torch.__version__}
    if RECORD.exists():
        record: dict[str, Any] = json.loads(RECORD.read_text())
        if record["weights_sha256"] == fresh["weights_sha256"]:
            return record
    return fresh | {"cells": {}}


def save_record(record: dict[str, Any]) -> None:
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1) + "\n"
    write_whole(RECORD, lambda file: file.write(text.encode()))


def entry(cell: dict[str, Any]) -> str:
    """mean PSNR / SSIM / residual of a cell."""
    means = [float(np.mean(cell[name])) for name in ("psnr", "ssim", "residual")]
    return f"{means[0]:.2f} / {means[1]:.3f} / {means[2]:.1e}"


def table(record: dict[str, Any], noise_std: float) -> list[str]:
    """Methods by tasks at one noise level, as Markdown."""
    done = record["cells"]
    solvers = (*NOISY, AS_IF_NOISELESS) if noise_std else NOISELESS
    methods = (*BASELINES, *solvers)
    lines = ["| method | " + " | ".join(TASKS) + " |", "|---" * (len(TASKS) + 1) + "|"]
    for method in methods:
        inner_steps = 0 if method in BASELINES else 10
        keys = [Cell(task, method, noise_std, inner_steps).key for task in TASKS]
        entries = [entry(done[key]) if key in done else "not measured" for key in keys]
        lines.append(f"| {method} | " + " | ".join(entries) + " |")
    return lines


def budget_table(record: dict[str, Any]) -> list[str]:
    """vml-map-pre, noiseless, by network passes."""
    done = record["cells"]
    lines = ["| N×K | network passes | " + " | ".join(BUDGET_TASKS) + " |", "|---" * 5 + "|"]
    for inner_steps in (5, 10, 50):
        keys = [Cell(task, "vml-map-pre", 0.0, inner_steps).key for task in BUDGET_TASKS]
        entries = [entry(done[key]) if key in done else "not measured" for key in keys]
        passes = 20 * (2 * inner_steps + 1)
        lines.append(f"| 20×{inner_steps} | {passes} | " + " | ".join(entries) + " |")
    return lines


def report(record: dict[str, Any]) -> None:
    """Write the tables beside the record."""
    lines = [
        "# emoji64: restorations of 16 held-out emoji",
        "",
        "PSNR in dB / SSIM / RMS residual, means over 16 images, N = 20, K = 10, float32;",
        "written by `python benchmarks/quality.py`.",
        f"Weights sha256 {record['weights_sha256']}…, torch {record['torch']}.",
        "`bicubic`: cubic interpolation of y (of the observed pixels for a mask; y itself for a",
        "blur).",
        "",
        "## Noiseless",
        "",
        *table(record, 0.0),
        "",
        "## σ_y = 0.05",
        "",
        *table(record, 0.05),
        "",
        "## Quality per network pass (forwards + Jacobian products), vml-map-pre, noiseless",
        "",
        *budget_table(record),
        "",
    ]
    RECORD.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--report", action="store_true", help="write the tables alone")
    arguments = parser.parse_args()
    record = load_record()
    if not arguments.report:
        names, truth = chosen_emoji()
        record["images"] = names
        prior = vf.load_denoiser(PRIOR)
        for cell in cells():
            if cell.key in record["cells"]:
                continue
            record["cells"][cell.key] = run(cell, prior, truth)
            save_record(record)
            print(f"{cell.key}: {entry(record['cells'][cell.key])}", flush=True)
    report(record)


if __name__ == "__main__":
    main()
