"""The options of `vml-fast evaluate`, and the cells that they stand for."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vml_fast.checks import check_count
from vml_fast.cli.checks import check_name, check_seed, naming_options
from vml_fast.denoisers.loading import EMBEDDED
from vml_fast.denoisers.precision import DTYPES
from vml_fast.errors import InputError
from vml_fast.evaluation.comparison import comparisons, grids
from vml_fast.evaluation.comparison.budgets import BUDGETS
from vml_fast.evaluation.comparison.cells import INTERPOLATIONS, Cell
from vml_fast.evaluation.comparison.dataset import HELDOUT
from vml_fast.operators import PRESETS as TASK_PRESETS
from vml_fast.operators import TASKS
from vml_fast.solvers import BASELINES, METHODS
from vml_fast.solvers.checks import check_noise_std

Value = TypeVar("Value")
DEFAULT_PRIOR = "emoji64"
DEFAULT_IMAGES = 16
OPTIONS = {
    "method": "--methods", "methods": "--methods", "task": "--tasks", "tasks": "--tasks",
    "noise_stds": "--noise-std", "budget": "--budgets", "chosen_budgets": "--budgets",
    "images": "--images", "data": "--data",
}  # fmt: skip
"""What the library calls the values of options."""


@dataclass(frozen=True)
class EvaluateSettings:
    """The options, under their names there; lists are empty where nothing was said."""

    preset: str | None
    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    noise_std: tuple[float, ...]
    budgets: tuple[int, ...]
    prior: str
    consistency: str | None
    data: str
    images: int
    images_given: bool
    resize: bool
    seed: int
    device: str
    dtype: str
    backend: str
    inception_weights: Path | None
    max_seconds: float

    @classmethod
    def parsed(
        cls,
        *,
        preset: str | None,
        methods: str | None,
        tasks: str | None,
        noise_std: str | None,
        budgets: str | None,
        prior: str | None,
        data: str | None,
        images: int | None,
        seed: int,
        max_minutes: float | None,
        **others: Any,
    ) -> EvaluateSettings:
        """From the text of the options.

        Raises:
            InputError: a value outside what is allowed, or a preset without the network it needs.
        """
        if preset is not None:
            check_name("--preset", preset, comparisons.COMPARISONS)
        chosen = None if preset is None else comparisons.comparison(preset)
        if chosen is not None and chosen.prior is None and (prior is None or data is None):
            raise InputError(
                f"--preset {preset} needs {chosen.needs}, which does not come with this package; "
                "pass it as --prior FOLDER and its test images as --data FOLDER"
            )
        if max_minutes is not None and not max_minutes >= 0:
            raise InputError(f"--max-minutes is {max_minutes}; it must be at least 0")
        if images is not None:
            check_count("--images", images, 1)
        settings = cls(
            preset=preset,
            methods=_parse("--methods", methods, str),
            tasks=_parse("--tasks", tasks, str),
            noise_std=_parse("--noise-std", noise_std, float),
            budgets=_parse("--budgets", budgets, int),
            prior=prior if prior is not None else (chosen and chosen.prior) or DEFAULT_PRIOR,
            data=data if data is not None else (chosen and chosen.data) or HELDOUT,
            images=images or (chosen.images if chosen else DEFAULT_IMAGES),
            images_given=images is not None,
            seed=check_seed("--seed", seed),
            max_seconds=float("inf") if max_minutes is None else 60.0 * max_minutes,
            **others,
        )
        settings._check()
        return settings

    def _check(self) -> None:
        for name in self.methods if self.preset is None else ():
            check_name("--methods", name, (*METHODS, *BASELINES, *INTERPOLATIONS))
        for name in self.tasks if self.preset is None else ():
            check_name("--tasks", name, [*(t for t in TASKS if t != "inpaint"), *TASK_PRESETS])
        check_name("--dtype", self.dtype, ("auto", *DTYPES))
        for level in self.noise_std:
            check_noise_std(level, name="--noise-std")
        for budget in self.budgets:
            if budget not in BUDGETS and self.preset is None:
                allowed = ", ".join(map(str, BUDGETS))
                raise InputError(f"--budgets holds {budget}; it must be of {allowed}")
        if self.preset is None and not self.tasks:
            raise InputError("neither --preset nor --tasks was given; pass one of them")

    @property
    def consistency_model(self) -> str | None:
        """The model of map-ga and map-ga-np: the one given, else that embedded for the prior."""
        own = f"{self.prior}-consistency"
        return self.consistency or (own if own in EMBEDDED else None)

    def cells(self) -> list[Cell]:
        """The cells of the comparison, in the order to run them.

        Raises:
            InputError: a method without settings at a noise level, or a value of no cell.
        """
        with naming_options(OPTIONS):
            return self._grid() if self.preset is None else self._selected(self.preset)

    def _selected(self, preset: str) -> list[Cell]:
        request = comparisons.Request(
            self.images if self.images_given else None, self.consistency_model is not None
        )
        cells = grids.select(
            comparisons.comparison(preset).cells(request),
            methods=self.methods,
            tasks=self.tasks,
            noise_stds=self.noise_std,
            chosen_budgets=self.budgets,
        )
        wanted = set(self.methods) - set(INTERPOLATIONS)
        if all(c.method in INTERPOLATIONS for c in cells) and (wanted or not self.methods):
            raise InputError(
                f"--preset {preset} has no cell with these methods, tasks, noise levels and budgets"
                " together; leave one of them out"
            )
        return cells

    def _grid(self) -> list[Cell]:
        levels = self.noise_std or (0.0,)
        methods = [name for name in self.methods if name not in INTERPOLATIONS]
        cells = [
            cell
            for cell in grids.interpolations(self.tasks, levels, self.images)
            if not self.methods or cell.method in self.methods
        ]
        for budget in self.budgets or (100,):
            cells += grids.grid(
                methods if self.methods else None,
                self.tasks,
                levels,
                budget,
                self.images,
                consistency=self.consistency_model is not None,
            )
        return cells

    def left_out(self, cells: Sequence[Cell]) -> list[tuple[str, float]]:
        """Pairs of a method and a noise level, both asked for, of which there is no cell."""
        found = {(name, c.noise_std) for c in cells for name in (c.method, c.label)}
        return [
            (method, level)
            for method in self.methods
            for level in self.noise_std
            if (method, level) not in found
        ]

    def title(self) -> str:
        """Of the report."""
        if self.preset is not None:
            return comparisons.comparison(self.preset).title
        return f"Methods compared on {self.data}"

    def command(self) -> str:
        """What makes the same cells again: every option that was given, but --max-minutes."""
        chosen = None if self.preset is None else comparisons.comparison(self.preset)
        usual_prior, usual_data = (
            (DEFAULT_PRIOR, HELDOUT) if chosen is None else (chosen.prior, chosen.data)
        )
        named = {
            "preset": self.preset,
            "methods": ",".join(self.methods),
            "tasks": ",".join(self.tasks),
            "noise-std": ",".join(str(level).removesuffix(".0") for level in self.noise_std),
            "budgets": ",".join(map(str, self.budgets)),
            "prior": None if self.prior == usual_prior else self.prior,
            "consistency": self.consistency,
            "data": None if self.data == usual_data else self.data,
            "images": str(self.images) if self.images_given else None,
            "seed": str(self.seed) if self.seed else None,
            "device": None if self.device == "auto" else self.device,
            "dtype": None if self.dtype == "float32" else self.dtype,
            "backend": None if self.backend == "auto" else self.backend,
            "inception-weights": self.inception_weights and str(self.inception_weights),
        }
        words = [word for name, value in named.items() if value for word in (f"--{name}", value)]
        return shlex.join(["vml-fast", "evaluate", *words, *["--resize"] * self.resize])


def _parse(name: str, text: str | None, kind: Callable[[str], Value]) -> tuple[Value, ...]:
    """The values of a list, separated by commas."""
    if text is None:
        return ()
    try:
        values = tuple(kind(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InputError(f"{name} is {text!r}; it must be values separated by commas") from error
    if not values:
        raise InputError(f"{name} is {text!r}; it must hold at least one value")
    return tuple(dict.fromkeys(values))
