"""The run behind `vml-fast degrade`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import typer
from torch import Tensor

from vml_fast.cli.checks import check_name, check_seed
from vml_fast.cli.environment import execution, file_digest
from vml_fast.cli.masks import read_mask
from vml_fast.cli.problems import (
    ImageShape,
    make_operator,
    measurement_picture,
    read_clean,
    simulate,
)
from vml_fast.cli.results import Existing, Results
from vml_fast.errors import InputError
from vml_fast.evaluation.files import find_inputs, refuse_own_folder
from vml_fast.evaluation.images import MAX_PIXELS, write_array, write_picture
from vml_fast.operators import TASKS, LinearOperator
from vml_fast.solvers.checks import check_count, check_noise_std

RECORD = "degrade.json"


@dataclass(frozen=True)
class DegradeSettings:
    """The options of the command, under their names there; see its help."""

    task: str
    noise_std: float
    seed: int
    task_seed: int
    mask: Path | None
    mask_keep: str
    size: int | None

    def check(self) -> None:
        """Raise an InputError for a value outside what is allowed."""
        check_name("--task", self.task, TASKS)
        check_noise_std(self.noise_std, name="--noise-std")
        check_seed("--seed", self.seed)
        check_seed("--task-seed", self.task_seed)
        if self.size is not None:
            check_count("--size", self.size, 1)
            if self.size**2 > MAX_PIXELS:
                raise InputError(
                    f"--size is {self.size}; at most {math.isqrt(MAX_PIXELS)} is allowed "
                    f"({MAX_PIXELS:,} pixels)"
                )


def run(inputs: list[Path], settings: DegradeSettings, output: Path, *, overwrite: bool) -> None:
    """Degrade every input; all are checked before the first file is written.

    Raises:
        InputError: something cannot be used; nothing was written.
    """
    settings.check()
    paths = find_inputs(inputs)
    refuse_own_folder(output, inputs)
    mask = read_mask(settings.task, settings.mask, settings.mask_keep)
    names = [(f"measurements/{path.stem}.npy", f"pictures/{path.stem}.png") for path in paths]
    results = Results(
        output,
        RECORD,
        settings=record(settings, paths),
        execution=execution(torch.device("cpu")),
        files=[name for pair in names for name in pair],
        fields={},
        existing=Existing.chosen(overwrite=overwrite),
        resumable=False,
    )

    @lru_cache(maxsize=4)  # of images of several sizes, neighbours in the list are often alike
    def operator_for(image_shape: ImageShape) -> LinearOperator:
        return make_operator(settings.task, image_shape, mask, settings.task_seed)

    def measure(index: int) -> tuple[LinearOperator, Tensor]:
        wanted = None if settings.size is None else (3, settings.size, settings.size)
        truth = read_clean(paths[index], wanted, mask, resize=True)
        operator = operator_for(tuple(truth.shape))
        return operator, simulate(operator, truth, settings.noise_std, settings.seed, index)

    for index in range(len(paths)):
        measure(index)
    results.begin()
    for folder in ("measurements", "pictures"):
        (output / folder).mkdir(exist_ok=True)
    for index, (array, picture) in enumerate(names):
        operator, y = measure(index)
        write_array(output / array, y)
        write_picture(output / picture, measurement_picture(operator, y))
        results.entries.append(
            {
                "input": paths[index].name,
                "image_shape": list(operator.image_shape),
                "measurement_shape": list(operator.measurement_shape),
                "noise_std": settings.noise_std,
                "files": [array, picture],
            }
        )
    results.write(complete=True)
    typer.echo(f"wrote {len(paths)} measurements to {output / 'measurements'}")


def record(settings: DegradeSettings, paths: list[Path]) -> dict[str, Any]:
    """All that decides the results, as JSON."""
    chosen = asdict(settings)
    chosen["mask"] = None if settings.mask is None else file_digest(settings.mask)
    chosen["inputs"] = [file_digest(path) for path in paths]
    return chosen
