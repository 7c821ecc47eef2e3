"""Recipe of the embedded prior ``emoji64``: train it and install it in the package.

``python -m vml_fast.training.emoji64 --data FOLDER --output RUN``, where FOLDER is
``img/google/64`` of the npm package emoji-datasource-google@16.0.0. Every snapshot is installed;
``--install-only`` installs the last one of an earlier run again.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch

from vml_fast.denoisers.loading import PRIORS
from vml_fast.errors import InputError
from vml_fast.training.card import model_card
from vml_fast.training.checkpoint import write_text
from vml_fast.training.data import ImageFolder, load_image_folder
from vml_fast.training.heldout import level_table, nearest_distance
from vml_fast.training.loss import PreconditionedNetwork
from vml_fast.training.prior_folder import load_prior, save_prior
from vml_fast.training.run_folder import PRIOR, SUMMARY, read_log
from vml_fast.training.settings import TrainingSettings
from vml_fast.training.split import Split, group_images, split_groups
from vml_fast.training.train import Trainer

NAME = "emoji64"
SKIN_TONE = re.compile("1f3f[b-f]")
HELDOUT_IMAGES = Path(__file__).parents[1] / "evaluation" / "emoji64_heldout"
SETTINGS = TrainingSettings(
    size=64,
    max_minutes=200,
    group_pattern="emoji",
    duplicate_tolerance=0.15,
    heldout_fraction=0.055,
)

NOTICE = """\
The PNG files in this folder are unchanged images of Noto Emoji, © Google, licensed under the Apache
License, Version 2.0 (https://www.apache.org/licenses/LICENSE-2.0), as distributed in
img/google/64 of the npm package emoji-datasource-google@16.0.0. They are the images without a skin
tone among those held out when the embedded prior emoji64 was trained; the complete list is
heldout.txt beside the prior.
"""

ABOUT = """\
A denoiser of 64x64 color images of emoji, for the demo, the tests and the evaluation of vml_fast.
It is small and was trained for about three hours on one CPU core: enough to show what the solvers
do, not a general prior. Its unconditional samples have the shapes and colors of emoji (flags,
discs, buttons), not yet their drawing. Outside of emoji on a white background its restorations mean
nothing.

## Data

The 3,786 images `img/google/64` of the npm package emoji-datasource-google@16.0.0: Noto Emoji,
© Google, Apache-2.0; transparency composited on white, no augmentation. The weights are released
under the license of this package.

**Split.** Images are grouped by base design: skin-tone, gender and person code points do not make a
new group (`--group-pattern emoji`), and any two images whose RMS difference at 32x32 pixels is
below {tolerance:g} (range [-1, 1]) share a group too, which joins identical flags and
near-identical clock faces. A group is held out when a seeded hash of its key says so (seed {seed},
{fraction:.1%} expected). Training draws a group uniformly, then a member of it. `heldout.txt` lists
all held-out files; those without a skin tone are in `vml_fast/evaluation/emoji64_heldout/`. The RMS
difference of a held-out image from the nearest training image is {median:.2f} in the median and
{smallest:.2f} at least.

**Reproduce.** `python -m vml_fast.training.emoji64 --data img/google/64 --output RUN` (the
result depends on how many steps fit in the time budget). The present weights come from a run of 77
minutes that was annealed to its end and then gone on with (`--resume --max-minutes 200`), which put
the learning rate back on the longer cosine.
"""


def split_of(folder: ImageFolder) -> Split:
    """The split of the recipe."""
    groups = group_images(folder, SETTINGS.group_pattern, SETTINGS.duplicate_tolerance)
    return split_groups(groups, SETTINGS.heldout_fraction, SETTINGS.seed)


def about(folder: ImageFolder, split: Split) -> str:
    """First paragraphs of the model card."""
    train, heldout = (
        folder.images[[index for group in side for index in group]]
        for side in (split.train, split.heldout)
    )
    nearest = nearest_distance(heldout, train)
    return ABOUT.format(
        tolerance=SETTINGS.duplicate_tolerance,
        seed=SETTINGS.seed,
        fraction=SETTINGS.heldout_fraction,
        median=float(nearest.median()),
        smallest=float(nearest.min()),
    )


def float16_drift(run: Path, images: torch.Tensor) -> dict[str, float]:
    """RMS difference between the installed (float16) and the run's (float32) denoiser, by level."""
    full, half = (
        PreconditionedNetwork(network, record.sigma_data, record.noise_scale).eval()
        for network, record in (load_prior(str(run / PRIOR)), load_prior(str(PRIORS / NAME)))
    )
    return level_table(half, images, SETTINGS.seed, full)


def install_heldout(folder: ImageFolder, split: Split, data: Path) -> None:
    """Write the list of held-out files, and the images of it that carry no skin tone."""
    names = sorted(folder.names[index] for group in split.heldout for index in group)
    write_text(PRIORS / NAME / "heldout.txt", "\n".join(names) + "\n")
    write_text(HELDOUT_IMAGES / "NOTICE", NOTICE)
    for name in names:
        if not SKIN_TONE.search(name):
            shutil.copyfile(data / name, HELDOUT_IMAGES / name)


def install(run: Path, data: Path, folder: ImageFolder) -> None:
    """Install a run's prior (float16), its model card, and the held-out images in the package.

    Args:
        run: run folder, at least one snapshot old.
        data: where the images lie.
        folder: the images.

    Raises:
        InputError: ``run`` holds no snapshot.
    """
    network, record = load_prior(str(run / PRIOR))
    save_prior(network, record, PRIORS / NAME, torch.float16)
    split = split_of(folder)
    install_heldout(folder, split, data)
    summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    if summary["final"]:
        images = folder.images[[group[0] for group in split.heldout]]
        summary["float16_drift"] = float16_drift(run, images)
    card = model_card(NAME, about(folder, split), summary, read_log(run))
    write_text(PRIORS / NAME / "README.md", card)


def main() -> None:
    """Train and install, or only install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the 64x64 PNGs")
    parser.add_argument("--output", type=Path, required=True, help="run folder")
    parser.add_argument("--max-minutes", type=float, default=SETTINGS.max_minutes)
    parser.add_argument("--resume", action="store_true", help="continue the run in --output")
    parser.add_argument("--install-only", action="store_true", help="do not train")
    options = parser.parse_args()
    try:
        folder = load_image_folder(options.data, SETTINGS.size)
        if options.install_only:
            install(options.output, options.data, folder)
            return
        Trainer(
            folder,
            options.output,
            replace(SETTINGS, max_minutes=options.max_minutes),
            resume=options.resume,
            on_snapshot=lambda _: install(options.output, options.data, folder),
        ).run()
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
