"""``vml-fast train-prior``: make a prior from a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vml_fast.cli import options as opt
from vml_fast.cli.checks import parse_integers


def train_prior(
    data: Annotated[
        Path,
        typer.Option(
            parser=opt.given_path,
            help="Folder of PNG, JPEG and WebP images, subfolders included.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            parser=opt.given_path,
            metavar="FOLDER",
            help="Run folder; the prior will be in FOLDER/prior.",
        ),
    ],
    size: Annotated[int, typer.Option(help="Image side in pixels.")] = 64,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps; 10000 if no budget is given.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Time budget; the learning rate anneals to its end.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 16,
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
    log_sigma_mean: Annotated[
        float | None,
        typer.Option(
            help="Mean of ln(sigma) in training.", show_default="-0.4; 0 with --consistency"
        ),
    ] = None,
    log_sigma_std: Annotated[
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
    dtype: Annotated[
        str,
        typer.Option(help="auto (bfloat16 where the hardware has it), float32 or bfloat16."),
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
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --output.")] = False,
    snapshot_minutes: Annotated[
        float, typer.Option(help="Time between checkpoints, with samples and held-out error.")
    ] = 10.0,
) -> None:
    """Train a diffusion prior on your own images and save it where `load_denoiser` can read it."""
    from vml_fast.cli.train_prior_run import TrainPriorRun

    settings: dict[str, Any] = {
        "size": size,
        "steps": 10_000 if steps is None and max_minutes is None else steps,
        "max_minutes": max_minutes,
        "init": init,
        "batch": batch_size,
        "learning_rate": learning_rate,
        "warmup_steps": warmup_steps,
        "decay": decay,
        "ema_width": ema_width,
        "noise_mean": log_sigma_mean,
        "noise_std": log_sigma_std,
        "channels": None if channels is None else parse_integers("--channels", channels),
        "layers": layers,
        "attention": None if attention is None else parse_integers("--attention", attention),
        "unshuffle": unshuffle,
        "flip": flip,
        "group_pattern": group_pattern,
        "duplicate_tolerance": duplicate_tolerance,
        "heldout_fraction": heldout_fraction,
        "seed": seed,
    }
    halves = {
        "autoencoder_channels": parse_integers("--autoencoder-channels", autoencoder_channels),
        "latent_channels": latent_channels,
        "autoencoder_share": autoencoder_share,
    }
    TrainPriorRun(
        data=data,
        output=output,
        settings={name: value for name, value in settings.items() if value is not None},
        running={
            "device": device,
            "precision": dtype,
            "resume": resume,
            "snapshot_minutes": snapshot_minutes,
        },
        consistency=consistency,
        latent=halves if latent else None,
    ).run()
