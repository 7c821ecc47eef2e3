"""Training run of an EDM prior."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vml_fast.errors import InputError
from vml_fast.evaluation.files import Kind, check_writable, inspect
from vml_fast.training.card import model_card
from vml_fast.training.checkpoint import (
    load_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    save_checkpoint,
    write_text,
)
from vml_fast.training.data import ImageFolder, draw_batch
from vml_fast.training.device import choose_device, use_bf16
from vml_fast.training.ema import PowerEMA
from vml_fast.training.heldout import level_table
from vml_fast.training.loss import PreconditionedNetwork, draw_sigma, edm_loss
from vml_fast.training.network import build_network
from vml_fast.training.prior_folder import DenoiserRecord, load_prior, save_prior
from vml_fast.training.sampling import heun_sample, save_grid
from vml_fast.training.schedule import learning_rate, progress
from vml_fast.training.settings import TrainingSettings
from vml_fast.training.split import group_images, split_groups

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
SUMMARY = "summary.json"
PRIOR = "prior"
PRIOR_FLOAT16 = "prior-float16"
FIRST_SNAPSHOT_SECONDS = 180.0
LOG_STEPS = 50
SAMPLES = 16


def read_log(run: Path) -> list[dict[str, Any]]:
    """Entries of the log of a run folder, oldest first.

    Raises:
        InputError: there is no log, or it is damaged.
    """
    try:
        lines = (run / LOG).read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
        if not all(isinstance(entry["step"], int) for entry in entries):
            raise TypeError("step must be a whole number")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"out must hold the whole log of its run, but {run / LOG} cannot be read ({reason})"
        ) from error
    return entries


def check_run_folder(out: Path, resume: bool) -> None:
    """Check, before any work, that a run can be written into a folder.

    Raises:
        InputError: it is a file, cannot be made or written, or holds a run that is not resumed.
    """
    check_writable(out, "out")
    held = inspect(out / CHECKPOINT, "out") is not Kind.MISSING
    if held and not resume:
        raise InputError(f"out must not hold a run unless it is resumed, got {out}")
    if resume and not held:
        raise InputError(f"out must hold a checkpoint of train-prior to resume, got {out}")


def step_generator(seed: int, step: int) -> torch.Generator:
    """Generator of one step: (seed, step) alone decide its draws, so a resumed run repeats them."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextmanager
def on_signal(action: Callable[[], None]) -> Iterator[None]:
    """Call ``action`` on Ctrl-C or SIGTERM, which would otherwise end the process within a step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: action()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class Trainer:
    """One training run in one folder.

    Files: ``log.jsonl`` (one JSON object per line), ``checkpoint.safetensors``, ``samples/*.png``,
    ``summary.json``, ``prior/`` (averaged weights) and at the end ``prior-float16/``.

    Args:
        folder: the images.
        out: run folder.
        settings: what decides the result.
        device: name of a torch device, or ``auto``.
        precision: ``float32``, ``bf16`` or ``auto``; see `use_bf16`.
        init: embedded prior or prior folder to start from; its architecture replaces the settings'.
        resume: continue the checkpoint in ``out``. The result is that of an uninterrupted run, if
            steps and not minutes end it.
        snapshot_minutes: time between snapshots (checkpoint, prior, held-out error, samples); the
            first one comes after 3 minutes at the latest.
        on_snapshot: called after every snapshot.
        show_progress: whether to show a progress bar.

    Attributes:
        split: the training and held-out images.
        averaged: D with the averaged weights of the last snapshot.

    Raises:
        InputError: an argument is outside what is allowed; nothing has been written.
        MissingExtra: diffusers is not installed.
    """

    def __init__(
        self,
        folder: ImageFolder,
        out: Path,
        settings: TrainingSettings,
        *,
        device: str = "auto",
        precision: str = "auto",
        init: str | None = None,
        resume: bool = False,
        snapshot_minutes: float = 10.0,
        on_snapshot: Callable[[Trainer], None] | None = None,
        show_progress: bool = True,
    ) -> None:
        check_run_folder(out, resume)
        if not 0 < snapshot_minutes < math.inf:
            raise InputError(f"snapshot_minutes must be positive, got {snapshot_minutes}")
        self.folder, self.out, self.settings = folder, out, settings
        self.device = choose_device(device)
        self.bf16 = use_bf16(precision, self.device)
        self.snapshot_seconds = 60 * snapshot_minutes
        self.on_snapshot, self.show_progress = on_snapshot, show_progress
        self.record = self._build(init)
        self.step = 0
        self.earlier_seconds, self.started = 0.0, time.monotonic()
        self.stopping = False
        if resume:
            self._load(out / CHECKPOINT)
        groups = group_images(folder, settings.group_pattern, settings.duplicate_tolerance)
        self.split = split_groups(groups, settings.heldout_fraction, settings.seed)

    def _build(self, init: str | None) -> DenoiserRecord:
        """Make the network, its average and the optimizer; return the record of the prior."""
        settings = self.settings
        size, unshuffle = settings.size, settings.unshuffle
        if init is None:
            torch.manual_seed(settings.seed)
            network = build_network(
                size, settings.channels, settings.layers, settings.attention, unshuffle
            )
            record = DenoiserRecord(
                [3, size, size], settings.sigma_data, settings.noise_scale, unshuffle
            )
        else:
            network, record = load_prior(init)
            if record.image_shape != [3, size, size]:
                raise InputError(
                    f"init must be a prior for images of size {size}, "
                    f"got {init} for {record.image_shape}"
                )
        model = PreconditionedNetwork(network, record.sigma_data, record.noise_scale).train()
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = model
        self.averaged_network = copy.deepcopy(network)
        self.averaged = PreconditionedNetwork(
            self.averaged_network, record.sigma_data, record.noise_scale
        )
        self.averaged.eval().requires_grad_(False)
        self.ema = PowerEMA(self.model, settings.ema_width)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        return record

    def seconds(self) -> float:
        """Time of the run so far, without the time between a stop and its resumption."""
        return self.earlier_seconds + time.monotonic() - self.started

    def progress(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        return progress(self.settings, self.step, self.seconds())

    def request_stop(self) -> None:
        """End `run` after the current step, with a checkpoint to resume from."""
        self.stopping = True

    def train_step(self) -> tuple[float, float]:
        """One optimizer step; returns its loss and its learning rate."""
        settings, split = self.settings, self.split
        generator = step_generator(settings.seed, self.step)
        batch = settings.batch
        images = draw_batch(self.folder.images, split.train, batch, settings.flip, generator)
        sigma = draw_sigma(batch, settings.noise_mean, settings.noise_std, generator)
        noise = torch.randn(images.shape, generator=generator)
        images, noise = (
            tensor.to(self.device, memory_format=torch.channels_last) for tensor in (images, noise)
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses = edm_loss(
                self.model, images, sigma.to(self.device), noise, self.record.sigma_data
            )
        loss = losses.mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        rate = learning_rate(settings, self.step, self.progress())
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.ema.update(self.model, self.step)
        return loss.item(), rate

    def run(self) -> dict[str, Any]:
        """Train until the budget is used or a stop is requested.

        Returns:
            The summary that is also in ``summary.json``; ``final`` is False after a stop.

        Raises:
            FloatingPointError: the loss is not finite any more; the last snapshot stays.
        """
        self.started = time.monotonic()
        due = self.seconds() + min(FIRST_SNAPSHOT_SECONDS, self.snapshot_seconds)
        recent: list[float] = []
        form = "{l_bar}{bar}| {elapsed} {postfix}"
        with (
            on_signal(self.request_stop),
            tqdm(
                total=1.0, disable=not self.show_progress, mininterval=1.0, bar_format=form
            ) as bar,
        ):
            while self.progress() < 1 and not self.stopping:
                loss, rate = self.train_step()
                if not math.isfinite(loss):
                    raise FloatingPointError(
                        f"the loss became {loss} at step {self.step}; lower the learning rate"
                    )
                recent.append(loss)
                mean = sum(recent) / len(recent)
                bar.set_postfix_str(f"step {self.step}, loss {mean:.4f}", refresh=False)
                bar.update(self.progress() - bar.n)
                if self.step % LOG_STEPS == 0:
                    recent.clear()
                    self._log({"loss": round(mean, 5), "learning_rate": rate})
                if self.seconds() >= due:
                    self.snapshot()
                    due = self.seconds() + self.snapshot_seconds
            return self.snapshot(final=self.progress() >= 1)

    def _log(self, entry: dict[str, Any]) -> None:
        head = {
            "step": self.step,
            "seconds": round(self.seconds(), 1),
            "progress": round(self.progress(), 5),
        }
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(head | entry) + "\n")

    def heldout_images(self) -> Tensor:
        """The first image of each held-out group, ``(N, 3, S, S)`` uint8."""
        return self.folder.images[[members[0] for members in self.split.heldout]]

    def snapshot(self, final: bool = False) -> dict[str, Any]:
        """Write checkpoint, prior, held-out error, samples and summary; returns the summary.

        Args:
            final: the run is over; also store the weights in float16 and measure what that changes.
        """
        self._save()
        self.ema.copy_to(self.averaged)
        network = self.averaged_network
        save_prior(network, self.record, self.out / PRIOR)
        summary = self._summary(final)
        if self.split.heldout:
            summary["heldout_rmse"] = self._heldout_table(self.averaged)
        self._log({"heldout_rmse": summary.get("heldout_rmse")})
        if final:
            save_prior(network, self.record, self.out / PRIOR_FLOAT16, torch.float16)
            if self.split.heldout:
                rounded = copy.deepcopy(self.averaged).half().float()
                summary["float16_drift"] = self._heldout_table(rounded, self.averaged)
        write_text(self.out / SUMMARY, json.dumps(summary, indent=2) + "\n")
        for folder in (PRIOR, PRIOR_FLOAT16) if final else (PRIOR,):
            write_text(self.out / folder / "README.md", self._card(summary))
        self._samples()
        if self.on_snapshot is not None:
            self.on_snapshot(self)
        return summary

    def _heldout_table(
        self, model: PreconditionedNetwork, other: PreconditionedNetwork | None = None
    ) -> dict[str, float]:
        seed = self.settings.seed
        table = level_table(model, self.heldout_images(), seed, other, self.device)
        return {sigma: float(f"{value:.4g}") for sigma, value in table.items()}

    def _summary(self, final: bool) -> dict[str, Any]:
        def count(groups: list[list[int]]) -> dict[str, int]:
            return {"groups": len(groups), "images": sum(map(len, groups))}

        cuda = self.device.type == "cuda"
        return {
            "final": final,
            "step": self.step,
            "images_seen": self.step * self.settings.batch,
            "minutes": round(self.seconds() / 60, 1),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "precision": "bf16" if self.bf16 else "float32",
            "device": torch.cuda.get_device_name()
            if cuda
            else f"{torch.get_num_threads()} CPU threads",
            "torch": torch.__version__,
            "train": count(self.split.train),
            "heldout": count(self.split.heldout),
            "settings": asdict(self.settings),
        }

    def _card(self, summary: dict[str, Any]) -> str:
        about = (
            f"A denoiser of {self.settings.size}x{self.settings.size} colour images, made with "
            "`vml-fast train-prior`.\n"
        )
        return model_card(str(self.out / PRIOR), about, summary, read_log(self.out))

    def _samples(self) -> None:
        size = self.settings.size
        generator = torch.Generator().manual_seed(self.settings.seed)
        noise = torch.randn(SAMPLES, 3, size, size, generator=generator).to(self.device)
        images = heun_sample(self.averaged, noise, sigma_max=self.record.sigma_max)
        path = self.out / "samples" / f"step{self.step:07d}.png"
        save_grid(images, path, columns=8, zoom=max(1, 128 // size))

    def _save(self) -> None:
        weights = self.model.named_parameters()
        tensors = {f"network.{name}": weight.detach() for name, weight in weights}
        tensors |= {f"ema.{name}": weight for name, weight in self.ema.tensors().items()}
        tensors |= optimizer_tensors(self.optimizer)
        record = {"step": self.step, "seconds": self.seconds(), "settings": asdict(self.settings)}
        save_checkpoint(self.out / CHECKPOINT, tensors, record)

    def _load(self, path: Path) -> None:
        tensors, record = load_checkpoint(path)
        saved, current = record["settings"], json.loads(json.dumps(asdict(self.settings)))
        for name in current.keys() - {"steps", "max_minutes"}:  # a run may be made longer
            if saved.get(name) != current[name]:
                raise InputError(
                    f"{name} must be {saved.get(name)}, as in the run to resume, "
                    f"got {current[name]}"
                )
        weights = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(tensors[f"network.{name}"])
        self.ema.load({name: tensors[f"ema.{name}"] for name in weights})
        load_optimizer_tensors(self.optimizer, tensors)
        self.step, self.earlier_seconds = record["step"], record["seconds"]
        kept = [entry for entry in read_log(self.out) if entry["step"] <= self.step]
        write_text(self.out / LOG, "".join(json.dumps(entry) + "\n" for entry in kept))
