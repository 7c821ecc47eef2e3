"""Restore held-out emoji in several tasks and draw one figure: `make demo`.

The emoji were never seen by the prior. Each is degraded by y = H x, and restored by VML-MAP_pre.
Below each restoration stands its PSNR, below each measurement that of its cubic interpolation (a
blurred image as it is).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm

import vml_fast as vf
from vml_fast.evaluation.figures import Panel, image_grid, write_figure
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.interpolation import bicubic
from vml_fast.evaluation.measurements import measurement_pictures
from vml_fast.evaluation.metrics import psnr

# name, title, what the measurement is compared as
TASKS = (
    ("sr4", "4× super-resolution", "bicubic"),
    ("half", "half mask", "interpolated"),
    ("random70", "70 % missing", "interpolated"),
    ("deblur-gauss", "Gaussian blur", "as it is"),
)
EMOJI = ("1f98e", "1f41e", "1f60f", "1f697", "1f9f8", "1f33c")


def decibels(images: torch.Tensor, truth: torch.Tensor) -> list[float]:
    """PSNR of each clipped image."""
    return psnr(images.clamp(-1, 1), truth).tolist()


def captioned(images: torch.Tensor, captions: list[str]) -> list[Panel]:
    """A row of pictures with a line below each."""
    return [Panel(image, caption=text) for image, text in zip(images, captions, strict=True)]


def main() -> None:
    """Restore every emoji in every task; write pictures, the figure and a JSON record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--inner-steps", type=int, default=5)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    prior = vf.load_denoiser("emoji64")
    names, truth = heldout_emoji(EMOJI)
    rows: list[list[Panel]] = [[Panel(image) for image in truth]]
    titles, record = ["truth"], {}
    start = time.perf_counter()
    for task, title, baseline in tqdm(TASKS, desc="tasks"):
        H = vf.operators.task(task, prior.image_shape)
        y = H(truth)
        result = vf.restore(
            y,
            H,
            prior,
            steps=arguments.steps,
            inner_steps=arguments.inner_steps,
            progress=True,
        )
        simple, restored = decibels(bicubic(H, y), truth), decibels(result.image, truth)
        pictures = measurement_pictures(H, y, hidden=0.5)
        rows.append(captioned(pictures, [f"{baseline}: {v:.1f} dB" for v in simple]))
        rows.append(captioned(result.image, [f"{v:.1f} dB" for v in restored]))
        titles += [title, "restored"]
        record[task] = {
            "psnr": dict(zip(names, restored, strict=True)),
            "psnr_baseline": dict(zip(names, simple, strict=True)),
            "residual": result.residual.tolist(),
            "network_passes": result.network_passes,
        }
    title = (
        "Held-out emoji, VML-MAP_pre, noiseless, "
        f"{arguments.steps}×{arguments.inner_steps} steps, {result.network_passes} network passes"
    )
    figure = image_grid(rows, row_titles=titles, title=title)
    write_figure(arguments.output / "restorations.png", figure)
    (arguments.output / "restorations.json").write_text(json.dumps(record, indent=2) + "\n")
    seconds = time.perf_counter() - start
    print(f"wrote {arguments.output / 'restorations.png'} in {seconds:.0f} s")


if __name__ == "__main__":
    main()
