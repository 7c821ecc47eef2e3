"""Recipe of the embedded model ``emoji64-consistency``: distil ``emoji64`` and install the result.

``python -m vml_fast.training.emoji64_consistency --data FOLDER --output RUN``, where FOLDER is
``img/google/64`` of the npm package emoji-datasource-google@16.0.0. The model is installed when the
run has ended; ``--install-only`` installs that of an earlier run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from vml_fast.denoisers.loading import PRIORS
from vml_fast.errors import InputError
from vml_fast.evaluation.files import write_whole
from vml_fast.training import emoji64
from vml_fast.training.card import model_card
from vml_fast.training.checkpoint import write_text
from vml_fast.training.data import load_image_folder
from vml_fast.training.distill import ConsistencySettings, ConsistencyTrainer
from vml_fast.training.model_folder import CONFIG, WEIGHTS
from vml_fast.training.prior_folder import DENOISER
from vml_fast.training.run_folder import PRIOR_FLOAT16, SUMMARY, read_log

NAME = "emoji64-consistency"
SETTINGS = ConsistencySettings(
    size=emoji64.SETTINGS.size,
    max_minutes=77,
    batch=8,
    group_pattern=emoji64.SETTINGS.group_pattern,
    duplicate_tolerance=emoji64.SETTINGS.duplicate_tolerance,
    heldout_fraction=emoji64.SETTINGS.heldout_fraction,
    seed=emoji64.SETTINGS.seed,
    teacher=emoji64.NAME,
)

ABOUT = """\
A consistency model of 64x64 color images of emoji, for the forms of MAP-GA that take one
(`map-ga`, `map-ga-np`): in one pass C(x; sigma) gives the image in which the probability-flow ODE
of [emoji64](../emoji64/README.md) from x ends. It is small, and was distilled in about nine minutes
of one CPU core: its images are nearer to the end of that ODE than the denoiser's, but not at it.

It was distilled from `emoji64` with the same training images and the same held-out ones; see there
for the data, the split and the licenses. The weights are released under the license of this
package.

**Reproduce.** `python -m vml_fast.training.emoji64_consistency --data img/google/64 --output RUN`
(the result depends on how many steps fit in the time budget). The present weights come from the
first 68 of 77 planned minutes, in which other work left those nine of the core.
"""


def install(run: Path) -> None:
    """Install the float16 model of a finished run in the package, with its card.

    Args:
        run: run folder of a distillation that has ended.

    Raises:
        InputError: ``run`` holds none.
    """
    source, target = run / PRIOR_FLOAT16, PRIORS / NAME
    if not (source / WEIGHTS).is_file():
        raise InputError(f"out must hold a finished run to install, got {run}")
    summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    target.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CONFIG, DENOISER):
        with (source / name).open("rb") as stored:
            write_whole(target / name, partial(shutil.copyfileobj, stored))
    write_text(target / "README.md", model_card(NAME, ABOUT, summary, read_log(run)))


def main() -> None:
    """Distil and install, or only install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the 64x64 PNGs")
    parser.add_argument("--output", type=Path, required=True, help="run folder")
    parser.add_argument("--max-minutes", type=float, default=SETTINGS.max_minutes)
    parser.add_argument("--resume", action="store_true", help="continue the run in --output")
    parser.add_argument("--install-only", action="store_true", help="do not train")
    options = parser.parse_args()
    try:
        if not options.install_only:
            settings = replace(SETTINGS, max_minutes=options.max_minutes)
            folder = load_image_folder(options.data, settings.size)
            trainer = ConsistencyTrainer(folder, options.output, settings, resume=options.resume)
            if not trainer.run()["final"]:
                sys.exit(130)
        install(options.output)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
