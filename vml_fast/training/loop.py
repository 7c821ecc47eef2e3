"""The loop of a training run: its steps, clock, log, checkpoints and stop."""

from __future__ import annotations

import hashlib
import json
import math
import time
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vml_fast.devices import find_device
from vml_fast.errors import InputError
from vml_fast.training.checkpoint import (
    load_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    save_checkpoint,
)
from vml_fast.training.ema import PowerEMA
from vml_fast.training.precision import use_bf16
from vml_fast.training.run_folder import CHECKPOINT, append_log, check_run_folder, shorten_log
from vml_fast.training.schedule import learning_rate, progress
from vml_fast.training.settings import TrainingSettings
from vml_fast.training.signals import on_signal

FIRST_SNAPSHOT_SECONDS = 180.0
LOG_STEPS = 50


def step_generator(seed: int, step: int) -> torch.Generator:
    """Generator of one step: (seed, step) alone decide its draws, so a resumed run repeats them."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class TrainingLoop(ABC):
    """One training run in one folder; a subclass says what is trained, and what a snapshot writes.

    A subclass gives the model to `optimize_model`, then calls `load` if the run is resumed. To keep
    more than the model, its average and the optimizer it extends `tensors` and `load_tensors`.

    Args:
        out: run folder, for ``log.jsonl`` and ``checkpoint.safetensors``.
        settings: what decides the result.
        device: name of a torch device, or ``auto``.
        precision: ``float32``, ``bfloat16`` or ``auto``; see `use_bf16`.
        resume: whether ``out`` holds a run to go on with.
        snapshot_minutes: time between snapshots; the first one comes after 3 minutes at the latest.
        show_progress: whether to show a progress bar.

    Attributes:
        step: optimizer steps so far.
        model: what is trained.
        ema: its averaged weights.

    Raises:
        InputError: an argument is outside what is allowed; nothing has been written.
    """

    def __init__(
        self,
        out: Path,
        settings: TrainingSettings,
        *,
        device: str,
        precision: str,
        resume: bool,
        snapshot_minutes: float,
        show_progress: bool,
    ) -> None:
        check_run_folder(out, resume)
        if not 0 < snapshot_minutes < math.inf:
            raise InputError(f"snapshot_minutes must be positive, got {snapshot_minutes}")
        self.out, self.settings = out, settings
        self.device = find_device(device)
        self.bf16 = use_bf16(precision, self.device)
        self.snapshot_seconds = 60 * snapshot_minutes
        self.show_progress = show_progress
        self.step = 0
        self.earlier_seconds, self.started = 0.0, time.monotonic()
        self.stopping = False

    @abstractmethod
    def loss(self, generator: torch.Generator) -> Tensor:
        """The scalar loss of a batch; the generator alone decides its draws."""

    @abstractmethod
    def snapshot(self, final: bool = False) -> dict[str, Any]:
        """Write the checkpoint and all that shows the state of the run; returns the summary.

        Args:
            final: the run is over.
        """

    def optimize_model(self, model: nn.Module) -> None:
        """Move the model to the device, and make its average and its optimizer."""
        settings = self.settings
        model.train()
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = model
        self.ema = PowerEMA(model, settings.ema_width)
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
            fused=True,
        )

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
        settings = self.settings
        loss = self.loss(step_generator(settings.seed, self.step))
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
            The summary of the last snapshot; ``final`` is False after a stop.

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
                    self.log({"loss": round(mean, 5), "learning_rate": rate})
                if self.seconds() >= due:
                    self.snapshot()
                    due = self.seconds() + self.snapshot_seconds
            return self.snapshot(final=self.progress() >= 1)

    def log(self, entry: dict[str, Any]) -> None:
        """Add an entry to the log, with the step, the time and the progress."""
        head = {
            "step": self.step,
            "seconds": round(self.seconds(), 1),
            "progress": round(self.progress(), 5),
        }
        append_log(self.out, head | entry)

    def summary(self, final: bool) -> dict[str, Any]:
        """What every run tells of itself, for ``summary.json``; a subclass adds its own.

        Args:
            final: the run is over.
        """
        threads = torch.get_num_threads()
        return {
            "final": final,
            "step": self.step,
            "images_seen": self.step * self.settings.batch,
            "minutes": round(self.seconds() / 60, 1),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "precision": "bfloat16" if self.bf16 else "float32",
            "device": torch.cuda.get_device_name()
            if self.device.type == "cuda"
            else f"{threads} CPU thread{'s' if threads > 1 else ''}",
            "torch": torch.__version__,
            "settings": asdict(self.settings),
        }

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that a resumed run needs, by name."""
        weights = self.model.named_parameters()
        tensors = {f"network.{name}": weight.detach() for name, weight in weights}
        tensors |= {f"ema.{name}": weight for name, weight in self.ema.tensors().items()}
        return tensors | optimizer_tensors(self.optimizer)

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        weights = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(tensors[f"network.{name}"])
        self.ema.load({name: tensors[f"ema.{name}"] for name in weights})
        load_optimizer_tensors(self.optimizer, tensors)

    def save(self) -> None:
        """Write the checkpoint."""
        record = {"step": self.step, "seconds": self.seconds(), "settings": asdict(self.settings)}
        save_checkpoint(self.out / CHECKPOINT, self.tensors(), record)

    def load(self) -> None:
        """Go on from the checkpoint; log entries after it are dropped.

        Raises:
            InputError: it was made with other settings, or it or the log cannot be read.
        """
        tensors, record = load_checkpoint(self.out / CHECKPOINT)
        saved, current = record["settings"], json.loads(json.dumps(asdict(self.settings)))
        for name, value in current.items():
            if name in ("steps", "max_minutes"):  # a run may be made longer
                continue
            if saved.get(name) != value:
                raise InputError(
                    f"{name} must be {saved.get(name)}, as in the run to resume, got {value}"
                )
        self.load_tensors(tensors)
        self.step, self.earlier_seconds = record["step"], record["seconds"]
        shorten_log(self.out, self.step)
