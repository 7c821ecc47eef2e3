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

from vml_fast.checks import check_count
from vml_fast.cli.checks import check_name, check_seed
from vml_fast.cli.environment import execution, file_digest
from vml_fast.cli.masks import read_mask
from vml_fast.cli.results import Existing, Results
from vml_fast.errors import InputError
from vml_fast.evaluation.files import find_inputs, refuse_own_folder
from vml_fast.evaluation.images import MAX_PIXELS, write_array, write_picture
from vml_fast.evaluation.inputs import ImageShape, read_clean
from vml_fast.evaluation.measurements import make_operator, measurement_pictures, simulate
from vml_fast.operators import TASKS, LinearOperator
from vml_fast.solvers.checks import check_noise_std

RECORD = "degrade.json"
ARRAYS, PICTURES = "measurements", "pictures"


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


class DegradeRun:
    """Degrades files; all are checked before the first result is written.

    Args:
        inputs: files and folders.
        settings: the options.
        output: folder of the results.
        overwrite: whether the results in `output` may be replaced.

    Raises:
        InputError: something cannot be used; nothing was written.
    """

    def __init__(
        self, inputs: list[Path], settings: DegradeSettings, output: Path, *, overwrite: bool
    ) -> None:
        settings.check()
        self.settings = settings
        self.paths = find_inputs(inputs)
        refuse_own_folder(output, inputs)
        self.mask = read_mask(settings.task, settings.mask, settings.mask_keep)
        stems = [path.stem for path in self.paths]
        self.names = [(f"{ARRAYS}/{stem}.npy", f"{PICTURES}/{stem}.png") for stem in stems]
        self.results = Results(
            output,
            RECORD,
            settings=record(settings, self.paths),
            execution=execution(torch.device("cpu")),
            files=[name for pair in self.names for name in pair],
            fields={},
            existing=Existing.chosen(overwrite=overwrite),
            resumable=False,
        )
        # of images of several sizes, neighbors in the list are often alike
        self._operator = lru_cache(maxsize=4)(self._make_operator)

    def run(self) -> None:
        """Check every input, then write every measurement."""
        for index in range(len(self.paths)):
            self._measure(index)
        self.results.begin()
        for folder in (ARRAYS, PICTURES):
            (self.results.folder / folder).mkdir(exist_ok=True)
        self.results.entries += [self._write(index) for index in range(len(self.paths))]
        self.results.write(complete=True)
        where = self.results.folder / ARRAYS
        typer.echo(f"wrote {len(self.paths)} measurements to {where}")

    def _make_operator(self, image_shape: ImageShape) -> LinearOperator:
        return make_operator(
            self.settings.task,
            image_shape,
            mask=self.mask and self.mask.known(*image_shape[1:]),
            seed=self.settings.task_seed,
        )

    def _measure(self, index: int) -> tuple[LinearOperator, Tensor]:
        """H and y, with a batch of one, of an input."""
        settings = self.settings
        truth = read_clean(
            self.paths[index],
            None if settings.size is None else (3, settings.size, settings.size),
            resize=True,
            check_size=None if self.mask is None else self.mask.check_size,
        )
        channels, height, width = truth.shape
        operator = self._operator((channels, height, width))
        sample = torch.tensor([index])
        y = simulate(operator, truth[None], settings.noise_std, sample, settings.seed)
        return operator, y

    def _write(self, index: int) -> dict[str, Any]:
        """Write the files of an input; returns its entry in the record."""
        array, picture = self.names[index]
        operator, y = self._measure(index)
        write_array(self.results.folder / array, y[0])
        write_picture(self.results.folder / picture, measurement_pictures(operator, y)[0])
        return {
            "input": self.paths[index].name,
            "image_shape": list(operator.image_shape),
            "measurement_shape": list(operator.measurement_shape),
            "noise_std": self.settings.noise_std,
            "files": [array, picture],
        }


def record(settings: DegradeSettings, paths: list[Path]) -> dict[str, Any]:
    """All that decides the results, as JSON."""
    chosen = asdict(settings)
    chosen["mask"] = None if settings.mask is None else file_digest(settings.mask)
    chosen["inputs"] = [file_digest(path) for path in paths]
    return chosen
