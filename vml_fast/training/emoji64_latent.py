"""Recipe of the embedded latent prior ``emoji64-latent``: train it and install it in the package.

``python -m vml_fast.training.emoji64_latent --data FOLDER --output RUN``, with the FOLDER of
`vml_fast.training.emoji64`. It is ``vml-fast train-prior --latent`` with the settings below.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from vml_fast.denoisers.loading import PRIORS
from vml_fast.errors import InputError
from vml_fast.evaluation.files import Kind, inspect
from vml_fast.training import emoji64
from vml_fast.training.checkpoint import write_text
from vml_fast.training.data import load_image_folder
from vml_fast.training.latent import train_latent_prior
from vml_fast.training.latent_card import latent_card
from vml_fast.training.latent_settings import latent_settings
from vml_fast.training.prior_folder import DENOISER
from vml_fast.training.run_folder import PRIOR_FLOAT16, SUMMARY, read_log

NAME = "emoji64-latent"
SETTINGS = latent_settings(
    replace(emoji64.SETTINGS, max_minutes=60, batch=8, channels=(96, 144)), autoencoder_share=0.45
)

ABOUT = """\
A latent prior of 64x64 color images of emoji: an autoencoder to 8x16x16 latents and a denoiser of
them, for the tests and the study of VML-MAP in latent space. It is small and was trained for an
hour on a share of one busy CPU core: enough to compare the solver's options, not a general prior.
Outside of emoji on a white background its restorations mean nothing.

Data, license and split of training and held-out images are those of `emoji64`, whose model card
describes them.

**Reproduce.** `python -m vml_fast.training.emoji64_latent --data img/google/64 --output RUN`; the
result depends on how many steps fit in the time budget.
"""


def install(run: Path) -> None:
    """Install a finished run's prior (float16) and its model card in the package.

    Args:
        run: run folder.

    Raises:
        InputError: ``run`` is not finished.
    """
    stored = run / PRIOR_FLOAT16
    if inspect(stored / DENOISER, "out") is not Kind.FILE:
        raise InputError(f"out must hold a finished run to install, got {run}")
    place = PRIORS / NAME
    shutil.copytree(stored, place, dirs_exist_ok=True)
    summary = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    write_text(place / "README.md", latent_card(NAME, summary, read_log(run), ABOUT))


def main() -> None:
    """Train and install, or only install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the 64x64 PNGs")
    parser.add_argument("--output", type=Path, required=True, help="run folder")
    parser.add_argument("--resume", action="store_true", help="continue the run in --output")
    parser.add_argument("--install-only", action="store_true", help="do not train")
    options = parser.parse_args()
    try:
        if not options.install_only:
            folder = load_image_folder(options.data, emoji64.SETTINGS.size)
            summary = train_latent_prior(folder, options.output, SETTINGS, resume=options.resume)
            if not summary["final"]:
                sys.exit(130)
        install(options.output)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
