"""``vml-fast train-prior``: make a prior from a folder of images."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vml_fast.cli.options import given_path
from vml_fast.errors import InputError


def integers(text: str, option: str) -> tuple[int, ...]:
    """Numbers of a comma-separated list.

    Raises:
        InputError: one of them is no whole number.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InputError(
            f"{option} must be whole numbers separated by commas, got {text!r}"
        ) from error


@contextmanager
def naming_options() -> Iterator[None]:
    """Errors about an argument of `train_prior` name it as the option that it is."""
    try:
        yield
    except InputError as error:
        name = re.match(r"\w+", str(error))
        if name is None or name[0] not in inspect.signature(train_prior).parameters:
            raise
        raise InputError(f"--{name[0].replace('_', '-')}{str(error)[name.end() :]}") from error


def train_prior(
    data: Annotated[
        Path,
        typer.Option(
            parser=given_path,
            help="Folder of PNG, JPEG and WebP images, subfolders included.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(parser=given_path, help="Run folder; the prior will be in OUT/prior."),
    ],
    size: Annotated[int, typer.Option(help="Image side in pixels.")] = 64,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps; 10000 if no budget is given.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Time budget; the learning rate anneals to its end.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images per step.")] = 16,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Peak learning rate of AdamW.", show_default="0.0006; 0.0003 with --consistency"
        ),
    ] = None,
    warmup_steps: Annotated[
        int | None,
        typer.Option(
            help="Steps of linear warm-up, for a tenth of the run at most.",
            show_default="300; 50 with --consistency",
        ),
    ] = None,
    decay: Annotated[str, typer.Option(help="Decay after the warm-up: cosine or linear.")] = (
        "cosine"
    ),
    ema_width: Annotated[
        float, typer.Option(help="Width of the weight average, as a share of the run.")
    ] = 0.05,
    noise_mean: Annotated[
        float | None,
        typer.Option(
            help="Mean of ln(sigma) in training.", show_default="-0.4; 0 with --consistency"
        ),
    ] = None,
    noise_std: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of ln(sigma) in training.",
            show_default="1.5; 2 with --consistency",
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Network width at each resolution, multiples of 16.", show_default="48,96,144"
        ),
    ] = None,
    layers: Annotated[
        int | None, typer.Option(help="Residual blocks per resolution.", show_default="1")
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(help="Feature-map sides with self-attention.", show_default="the lowest one"),
    ] = None,
    unshuffle: Annotated[
        int | None,
        typer.Option(help="Pixels folded into channels, per side.", show_default="2"),
    ] = None,
    flip: Annotated[bool, typer.Option(help="Mirror images left-right at random.")] = False,
    group_pattern: Annotated[
        str | None,
        typer.Option(
            help="Regular expression: what it matches is removed from a file name before images of "
            "equal names are grouped; a group is never split between training and held-out. "
            "'emoji' is for files named by code points."
        ),
    ] = None,
    duplicate_tolerance: Annotated[
        float,
        typer.Option(help="Images that differ by less (RMS, range [-1, 1]) share a group; 0: off."),
    ] = 0.0,
    heldout_fraction: Annotated[
        float, typer.Option(help="Share of the groups that is held out, in [0, 1).")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Of weights, split, images and noise.")] = 0,
    precision: Annotated[
        str, typer.Option(help="auto (bf16 where the hardware has it), float32 or bf16.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    init: Annotated[
        str | None,
        typer.Option(
            help="Embedded prior, prior folder or run folder to start from, with its network."
        ),
    ] = None,
    consistency: Annotated[
        bool,
        typer.Option(
            "--consistency", help="Distil a consistency model from the prior that --init names."
        ),
    ] = False,
    latent: Annotated[
        bool,
        typer.Option(
            "--latent", help="Train an autoencoder, then a prior of its latents: latent diffusion."
        ),
    ] = False,
    latent_channels: Annotated[
        int, typer.Option(help="Channels of the latents, with --latent.")
    ] = 8,
    autoencoder_channels: Annotated[
        str,
        typer.Option(help="Width of the autoencoder at each resolution; multiples of 16."),
    ] = "32,64",
    autoencoder_share: Annotated[
        float, typer.Option(help="Share of the budget for the autoencoder, in (0, 1).")
    ] = 0.4,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT.")] = False,
    snapshot_minutes: Annotated[
        float, typer.Option(help="Time between checkpoints, with samples and held-out error.")
    ] = 10.0,
) -> None:
    """Train a diffusion prior on your own images and save it where `load_denoiser` can read it."""
    # here, so that --help answers before torch is loaded
    from vml_fast.training.data import load_image_folder
    from vml_fast.training.distill import ConsistencySettings, ConsistencyTrainer
    from vml_fast.training.latent import check_latent_run_folder, train_latent_prior
    from vml_fast.training.latent_settings import latent_settings
    from vml_fast.training.run_folder import PRIOR, check_run_folder
    from vml_fast.training.settings import TrainingSettings
    from vml_fast.training.train import Trainer

    with naming_options():
        if consistency and not init:
            raise InputError("init must name the prior to distil with --consistency, got nothing")
        if latent and (consistency or init):
            raise InputError("latent must be given without --consistency and --init")
        sizes = {
            "channels": channels,
            "layers": layers,
            "attention": attention,
            "unshuffle": unshuffle,
        }
        for name, value in sizes.items():
            if init and value is not None:
                raise InputError(
                    f"{name} must be left out with --init {init}, whose network is taken, "
                    f"got {value}"
                )
        lists = {
            name: integers(value, name) for name, value in sizes.items() if isinstance(value, str)
        }
        given = {
            "learning_rate": learning_rate,
            "warmup_steps": warmup_steps,
            "noise_mean": noise_mean,
            "noise_std": noise_std,
            **sizes,
            **lists,
        }
        common: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        common |= {
            "size": size,
            "steps": 10_000 if steps is None and max_minutes is None else steps,
            "max_minutes": max_minutes,
            "batch": batch,
            "decay": decay,
            "ema_width": ema_width,
            "flip": flip,
            "group_pattern": group_pattern,
            "duplicate_tolerance": duplicate_tolerance,
            "heldout_fraction": heldout_fraction,
            "seed": seed,
        }
        running: dict[str, Any] = {
            "device": device,
            "precision": precision,
            "resume": resume,
            "snapshot_minutes": snapshot_minutes,
        }
        run: Callable[[], dict[str, Any]]
        if latent:
            halves = latent_settings(
                TrainingSettings(**common),
                autoencoder_channels=integers(autoencoder_channels, "autoencoder_channels"),
                latent_channels=latent_channels,
                autoencoder_share=autoencoder_share,
            )
            check_latent_run_folder(out, resume)
            images = load_image_folder(data, size)
            run = partial(train_latent_prior, images, out, halves, **running)
        elif consistency:
            check_run_folder(out, resume)
            distilled = ConsistencySettings(**common, teacher=str(init))
            run = ConsistencyTrainer(load_image_folder(data, size), out, distilled, **running).run
        else:
            check_run_folder(out, resume)
            settings = TrainingSettings(**common, init=init)
            if init is None:
                settings.check_network()
            run = Trainer(load_image_folder(data, size), out, settings, **running).run
    try:
        with naming_options():
            summary = run()
    except FloatingPointError as error:
        typer.echo(f"error: {error}.", err=True)
        raise typer.Exit(1) from None
    if summary["final"]:
        typer.echo(f"{out / PRIOR}: trained for {summary['step']} steps")
    else:
        typer.echo(f"stopped at step {summary['step']}; continue with --resume")
        raise typer.Exit(130)
