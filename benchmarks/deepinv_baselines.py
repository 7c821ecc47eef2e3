"""deepinv's DDRM, PiGDM and DPS beside ours: the same denoiser, problems and noise levels.

    make test-peers                                             # sets up .venv-peers
    .venv-peers/bin/python -m benchmarks.deepinv_baselines      # six minutes of a CPU core

runs each of deepinv's methods as it is, and once more with what sets it apart from ours taken away
and with our random numbers, so that the reason of a difference is seen too. It writes
`docs/results/deepinv/`: the record, run by run, and the page made of it; a broken run resumes.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import vml_fast as vf
from benchmarks.deepinv_runs import (
    NOISE_STD,
    PROBLEMS,
    RUNS,
    STD,
    TAPS,
    UNSOLVED,
    ZETA,
    Setting,
    is_aligned,
)
from benchmarks.machine import machine_record
from tests.peers.deepinv_import import import_deepinv
from vml_fast.evaluation.comparison.statistics import Estimate, difference
from vml_fast.evaluation.files import write_json, write_whole
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.evaluation.metrics import psnr
from vml_fast.evaluation.tables import markdown
from vml_fast.schedules import SIGMA_MAX, SIGMA_MIN, ddpm_schedule

FOLDER = Path(__file__).parents[1] / "docs" / "results" / "deepinv"
PRIOR = "emoji64"
Found = dict[str, Any]


def setting_of(steps: int) -> Setting:
    """The embedded prior and the noise levels."""
    return Setting(vf.load_denoiser(PRIOR), noise_levels(steps))


def noise_levels(steps: int) -> Tensor:
    """DDPM's levels (N,) within the range of EDM's networks."""
    return ddpm_schedule(steps, sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX)


def chosen_images(count: int) -> Tensor:
    """Held-out emoji from all over the list: neighbors are alike."""
    images = heldout_emoji()[1]
    return images[:: len(images) // count][:count]


def quality(images: Tensor, truth: Tensor) -> list[float]:
    """PSNR, dB, of each image clipped to [-1, 1]."""
    return psnr(images.clamp(-1, 1), truth).tolist()


def measure(name: str, run: str, images: int, seeds: int, steps: int) -> list[list[float]]:
    """PSNR of each image, a row per seed."""
    import_deepinv()  # before the network, whose package asks torchvision for more than it can do
    setting, problem = setting_of(steps), PROBLEMS[name](chosen_images(images))
    restored = (RUNS[run](problem, setting, seed) for seed in range(seeds))
    return [quality(image, problem.truth) for image in restored]


def attempt(name: str, steps: int) -> Found:
    """What deepinv answers to one of `UNSOLVED`, and the PSNR of ours for each of two images."""
    import_deepinv()
    case, setting = UNSOLVED[name], setting_of(steps)
    problem = case.problem(chosen_images(2))
    try:
        image = case.theirs(problem, setting, 0)
        answer = "images" if bool(torch.isfinite(image).all()) else "NaN"
    except (AttributeError, IndexError, RuntimeError) as error:
        answer = f"{type(error).__name__}: {error}"
    return {
        "method": case.method,
        "deepinv": answer,
        "psnr": quality(case.ours(problem, setting, 0), problem.truth),
    }


# --- the record and its page ----------------------------------------------------------------------


class Pair(NamedTuple):
    """A run of ours beside one of deepinv's: the method, deepinv's form, and two keys of `RUNS`."""

    method: str
    form: str
    ours: str
    theirs: str


PAIRS = (
    Pair("DDRM", "as it is", "DDRM", "deepinv DDRM"),
    Pair("DDRM", "aligned", "DDRM, truncated", "deepinv DDRM, aligned"),
    Pair("ΠGDM, score", "as it is", "PiGDM, score", "deepinv PiGDM"),
    Pair("ΠGDM, score", "aligned", "PiGDM, score", "deepinv PiGDM, aligned"),
    Pair("ΠGDM, adaptive", "as it is (score)", "PiGDM", "deepinv PiGDM"),
    Pair("DPS", "as it is", "DPS", "deepinv DPS"),
    Pair("DPS", "step aligned", "DPS", "deepinv DPS, step aligned"),
    Pair("DPS", "aligned", "DPS", "deepinv DPS, aligned"),
)


def shared_seeds(found: Found, pair: Pair) -> int:
    """The number of seeds that both sides of a pair were run with."""
    return min(len(found[pair.ours]), len(found[pair.theirs]))


def by_image(rows: Sequence[Sequence[float]]) -> list[float]:
    """The mean over seeds of each image's value."""
    return [statistics.mean(values) for values in zip(*rows, strict=True)]


def between_seeds(found: Found, pair: Pair) -> float:
    """How far the mean of our run would be from another of itself: 95 % lie within."""
    rows = found[pair.ours]
    variance = statistics.mean(statistics.variance(values) for values in zip(*rows, strict=True))
    return 1.96 * math.sqrt(2 * variance / (shared_seeds(found, pair) * len(rows[0])))


def apart(found: Found, pair: Pair) -> Estimate:
    """Ours minus deepinv's, paired by image."""
    count = shared_seeds(found, pair)
    return difference(by_image(found[pair.ours][:count]), by_image(found[pair.theirs][:count]))


def is_within_noise(found: Found, pair: Pair) -> bool:
    """Whether 0 is in the interval, or the difference smaller than between seeds."""
    found_apart = apart(found, pair)
    touches = found_apart.low <= 0 <= found_apart.high
    return touches or abs(found_apart.mean) <= between_seeds(found, pair)


def largest_gap(tasks: dict[str, Found]) -> float:
    """The largest difference of an image's PSNR between ours and deepinv's, aligned."""
    pairs = [pair for pair in PAIRS if pair.form == "aligned"]
    return max(
        abs(a - b)
        for found in tasks.values()
        for pair in pairs
        for a, b in zip(found[pair.ours][0], found[pair.theirs][0], strict=True)
    )


def verdict(tasks: dict[str, Found], form: str) -> str:
    """In how many comparisons the two are the same, and in which not."""
    pairs = [pair for pair in PAIRS if pair.form == form]
    differing = [
        f"{pair.method} on {name}"
        for name, found in tasks.items()
        for pair in pairs
        if not is_within_noise(found, pair)
    ]
    count = len(tasks) * len(pairs)
    return f"{count - len(differing)} of {count}" + (
        f" (not {', '.join(differing)})" if differing else ""
    )


def signed(value: float) -> str:
    """With a sign and three digits; what rounds to 0 is +0."""
    return f"{round(value, 3) + 0.0:+.3f}"


def row(name: str, found: Found, pair: Pair) -> tuple[str, ...]:
    """A line of the table."""
    count = shared_seeds(found, pair)
    theirs, own = (
        statistics.mean(by_image(found[run][:count])) for run in (pair.theirs, pair.ours)
    )
    between = apart(found, pair)
    return (
        name,
        pair.method,
        pair.form,
        f"{theirs:.2f}",
        f"{own:.2f}",
        f"{signed(between.mean)} [{signed(between.low)}, {signed(between.high)}]",
        f"±{between_seeds(found, pair):.2f}",
        "yes" if is_within_noise(found, pair) else "no",
    )


HEADER = (
    "problem",
    "method",
    "deepinv's",
    "deepinv, dB",
    "ours, dB",
    "ours − deepinv [95 %]",
    "seeds",
    "within noise",
)
REASONS = """\
## Why they differ as they are

* **DDRM.** deepinv divides all of its noise by √2. That suits the complex half spectrum of its
  `BlurFFT`; with any real basis, as in inpainting, a state has less noise than the level that the
  network is told. It also takes singular values s ≤ σ_y, which is most of this blur's, for
  unmeasured; the paper, and ours, use every s > 0 with its own noise σ_y / s. Aligned, the √2 is
  restored and ours takes the same singular values for zero.
* **ΠGDM.** The same method: aligned differs from it by the random numbers alone. deepinv adds the
  guidance to the score ("score"); ours does so by request, and by default weighs it as the paper's
  Algorithm 1 ("adaptive"), which deepinv does not have.
* **DPS.** deepinv adds the gradient of |y - H D| to the score, so that its step is that of the
  paper times β/√α of the level; with these levels that is {low:.2g} to {high:.2g}. The same ζ is
  thus not the same step, and this one was chosen for ours. deepinv also clips D to [-1, 1], which
  ours leaves to the caller. "Step aligned" has the paper's step; "aligned" is not clipped either.

With another schedule or number of levels all methods end elsewhere: here both sides have the same,
and the last of them is followed by 0.
"""


def page(record: Found) -> str:
    """The tables of a record, as Markdown."""
    settings, tasks, about = record["settings"], record["tasks"], record["machine_info"]
    rows = [row(name, found, pair) for name, found in tasks.items() for pair in PAIRS]
    low, high = step_factors(settings["steps"])
    return "\n".join(
        [
            "# deepinv's baselines beside ours\n",
            introduction(settings),
            f"* Aligned, ours are within noise of deepinv's in {verdict(tasks, 'aligned')} "
            f"comparisons; no image's PSNR differs by more than {largest_gap(tasks):.4f} dB.",
            f"* As they are, in {verdict(tasks, 'as it is')}; with so few images this says less.",
            f"\nMeasured on {about['device']}, torch {about['torch']}, deepinv "
            f"{record['deepinv']}; written by `python -m benchmarks.deepinv_baselines`.\n",
            markdown(HEADER, rows),
            REASONS.format(low=low, high=high),
            unsolved_table(record["unsolved"]),
        ]
    )


def introduction(settings: Found) -> str:
    """What was run, and what the columns mean."""
    return (
        f"Mean PSNR over {settings['images']} held-out emoji at σ_y = {NOISE_STD}, N = "
        f"{settings['steps']} noise levels (DDPM's, the same on both sides), the embedded network "
        f"{PRIOR} in float32, the same object on both sides. `random70` hides 70 % of the pixels; "
        f"`blur` is Gaussian, {TAPS} × {TAPS} taps of standard deviation {STD:g}, with a periodic "
        f"border. DPS has ζ = {ZETA:g} on both sides. deepinv's methods run as they are, with "
        f"{settings['seeds']} seeds on each side; and aligned: with what sets them apart taken "
        'away, and one seed of our random numbers. "Seeds" is how far two runs of our method with '
        "other seeds are apart (95 %); a difference is within noise if it is smaller, or if its "
        "interval, paired by image, holds 0.\n"
    )


def step_factors(steps: int) -> tuple[float, float]:
    """The smallest and the largest beta / sqrt(alpha) of the steps between levels."""
    levels = noise_levels(steps)
    following = torch.cat([levels[1:], levels.new_zeros(1)])
    alpha = (1 + following.square()) / (1 + levels.square())
    factors = (1 - alpha) / alpha.sqrt()
    return float(factors.min()), float(factors.max())


def unsolved_table(unsolved: dict[str, Found]) -> str:
    """What deepinv answers where ours restores."""
    rows = [
        (name, found["method"], f"{found['deepinv']}", f"{statistics.mean(found['psnr']):.2f}")
        for name, found in unsolved.items()
    ]
    return "## Where deepinv has no answer\n\n" + markdown(
        ("problem", "method", "deepinv", "ours, dB"), rows
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing, and write the record after each run and the page at the end."""
    parser = argparse.ArgumentParser(description="Compare our baselines with deepinv's.")
    parser.add_argument("--images", type=int, default=8, help="held-out emoji")
    parser.add_argument("--seeds", type=int, default=2, help="at least 2")
    parser.add_argument("--steps", type=int, default=20, help="noise levels")
    parser.add_argument("--output", type=Path, default=FOLDER)
    given = parser.parse_args(arguments)
    settings = {key: getattr(given, key) for key in ("images", "seeds", "steps")}
    given.output.mkdir(parents=True, exist_ok=True)
    record = measured(given.output / "deepinv.json", settings)
    write_whole(given.output / "README.md", lambda file: file.write(page(record).encode()))
    print(given.output)


def measured(path: Path, settings: dict[str, int]) -> Found:
    """The whole record: what the file has of these settings on this machine, and the rest."""
    record: Found = {"machine_info": machine_record(), "settings": settings, "deepinv": version()}
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if all(before[key] == value for key, value in record.items()):
            record = before
    tasks, unsolved = record.setdefault("tasks", {}), record.setdefault("unsolved", {})
    for name in PROBLEMS:
        found = tasks.setdefault(name, {})
        for run in (run for run in RUNS if run not in found):
            seeds = 1 if is_aligned(run) else settings["seeds"]
            found[run] = measure(name, run, **(settings | {"seeds": seeds}))
            print(name, run, f"{statistics.mean(by_image(found[run])):.2f} dB", flush=True)
            write_json(path, record)
    for name in (name for name in UNSOLVED if name not in unsolved):
        unsolved[name] = attempt(name, settings["steps"])
        write_json(path, record)
    return record


def version() -> str:
    """deepinv's."""
    return str(import_deepinv().__version__)


if __name__ == "__main__":
    main()
