"""Learning rate of a run, and whether it is over."""

from __future__ import annotations

import math

from vml_fast.training.settings import TrainingSettings

LONGEST_WARMUP = 0.1
"""Share of the run, so that a short one is not all warm-up."""


def progress(settings: TrainingSettings, step: int, seconds: float) -> float:
    """Share of the run that is done, in [0, 1]: of the steps or of the time, whichever is more."""
    by_steps = step / settings.steps if settings.steps else 0.0
    by_time = seconds / (60 * settings.max_minutes) if settings.max_minutes else 0.0
    return min(1.0, max(by_steps, by_time))


def learning_rate(settings: TrainingSettings, step: int, done: float) -> float:
    """Linear warm-up in steps times a decay to 0 in ``done``, the share of the run (`progress`).

    The warm-up takes `LONGEST_WARMUP` of the run at most.
    Following the share and not the step, a run with a time budget anneals fully on any machine.
    """
    warmup = min(1.0, max((step + 1) / (settings.warmup_steps + 1), done / LONGEST_WARMUP))
    decay = 1 - done if settings.decay == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.learning_rate * warmup * decay
