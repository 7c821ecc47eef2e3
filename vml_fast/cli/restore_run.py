"""The run behind `vml-fast restore`: batches through the solver, results written as they finish."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer

from vml_fast.cli.drawing import Drawing, score
from vml_fast.cli.environment import check_backend, execution
from vml_fast.cli.masks import MaskPicture, read_mask
from vml_fast.cli.priors import load_prior
from vml_fast.cli.problems import Problem, ProblemReader
from vml_fast.cli.restore_settings import RestoreSettings
from vml_fast.cli.results import Existing, Results
from vml_fast.cli.summary import print_summary
from vml_fast.devices import find_device
from vml_fast.errors import InputError, require
from vml_fast.evaluation.files import find_inputs, refuse_own_folder
from vml_fast.evaluation.images import write_picture
from vml_fast.evaluation.measurements import make_operator, measurement_pictures
from vml_fast.evaluation.text import shorten
from vml_fast.operators import LinearOperator
from vml_fast.solvers import Result
from vml_fast.solvers import restore as solve

RECORD = "restore.json"
FIELDS: dict[str, tuple[type, ...]] = {
    "input": (str,),
    "sample": (int,),
    "sample_index": (int,),
    "psnr": (int, float, type(None)),
    "ssim": (int, float, type(None)),
    "residual": (int, float),
    "seconds": (int, float),
}
"""What `--resume` reads of an entry that is in the record already."""


class Item(NamedTuple):
    """One restoration of a run: sample `sample` of input number `file`."""

    file: int
    sample: int


class RestoreRun:
    """Restores files in batches.

    Sample k of file i draws its noise from (seed, sample index i * samples + k), whatever the
    batch: a run that was interrupted and resumed equals one that was not.

    Args:
        inputs: files and folders.
        settings: the options.
        output: folder of the results.
        existing: what to do with results that are already there.

    Raises:
        InputError, MissingExtra, BackendUnavailable: something cannot be used; nothing was written.
    """

    def __init__(
        self, inputs: list[Path], settings: RestoreSettings, output: Path, existing: Existing
    ) -> None:
        settings.check()
        self.settings = settings
        self.paths = find_inputs(inputs)
        refuse_own_folder(output, inputs)
        mask = read_mask(settings.task, settings.mask, settings.mask_keep)
        self.device = find_device(settings.device, "--device")
        check_backend(settings.backend, self.device)
        self._require_extras()
        self.denoiser = load_prior(
            "--prior", settings.prior, self.device, settings.dtype, settings.backend
        )
        self.results = Results(
            output,
            RECORD,
            settings=settings.record(self.paths),
            execution=execution(self.device)
            | {"backend": settings.backend, "batch_size": settings.batch_size},
            files=[name for file in range(len(self.paths)) for name in self._files(file)],
            fields=FIELDS,
            existing=existing,
            resumable=True,
        )
        self.reader = ProblemReader(
            self._make_operator(mask),
            mask,
            settings.noise_std,
            settings.simulate,
            settings.resize,
            settings.seed,
        )
        self.drawings: dict[int, Drawing] = {}

    def run(self) -> None:
        """Check every input, then restore and write batch after batch."""
        for file, path in enumerate(self.paths):
            self.reader.read(path, file)
        items = self._unfinished()
        try:
            for start in range(0, len(items), self.settings.batch_size):
                self._restore(items[start : start + self.settings.batch_size])
                typer.echo(self._progress(), err=True)
        except KeyboardInterrupt:
            typer.echo(f"interrupted, {self._progress()}; --resume restores the others", err=True)
            raise typer.Exit(130) from None
        self.results.entries.sort(key=lambda entry: entry["sample_index"])
        self.results.begin()
        self.results.write(complete=True)
        print_summary(self.results.entries, self.results.folder)

    def _progress(self) -> str:
        done, wanted = len(self.results.entries), len(self.paths) * self.settings.samples
        return f"{done} of {wanted} restorations are in {self.results.folder}"

    def _require_extras(self) -> None:
        """Fail before the work, not after it, where an optional package is missing."""
        if self.settings.figures:
            require("matplotlib", "figures")
        if self.settings.simulate:
            require("torchmetrics", "evaluation")

    def _make_operator(self, mask: MaskPicture | None) -> LinearOperator:
        channels, height, width = self.denoiser.image_shape
        if channels not in (1, 3):
            raise InputError(
                f"--prior {self.settings.prior} makes images of {channels} channels; "
                "the command line writes pictures, of 1 or 3"
            )
        return make_operator(
            self.settings.task,
            (channels, height, width),
            mask=mask and mask.known(height, width),
            seed=self.settings.task_seed,
        )

    def _unfinished(self) -> list[Item]:
        """Restorations to do; a file with only some of its samples begins anew, for its figures."""
        samples = range(self.settings.samples)
        done = {(entry["input"], entry["sample"]) for entry in self.results.entries}
        todo = [
            file
            for file, path in enumerate(self.paths)
            if not all((path.name, k) in done for k in samples)
            or not all((self.results.folder / name).is_file() for name in self._files(file))
        ]
        again = {self.paths[file].name for file in todo}
        self.results.entries = [e for e in self.results.entries if e["input"] not in again]
        return [Item(file, k) for file in todo for k in samples]

    def _picture(self, item: Item) -> str:
        """File name of a restoration."""
        number = f"-{item.sample}" if self.settings.samples > 1 else ""
        return f"{self.paths[item.file].stem}-restored{number}.png"

    def _figures(self, file: int) -> list[str]:
        """File names of the figures of an input."""
        stem = self.paths[file].stem
        return [f"{stem}-comparison.png", f"{stem}-levels.png"] if self.settings.figures else []

    def _files(self, file: int) -> list[str]:
        """Names of all files that are written for an input."""
        pictures = [self._picture(Item(file, k)) for k in range(self.settings.samples)]
        return pictures + self._figures(file)

    def _restore(self, batch: list[Item]) -> None:
        """Restore a batch; write its pictures, figures and the record."""
        problems = [self._problem(item.file) for item in batch]
        result = self._solve(batch, problems)
        if not bool(torch.isfinite(result.image).all()):
            raise InputError(
                f"--method {self.settings.method} gave NaN or infinity for "
                f"{self.paths[batch[0].file]} or others of its batch; use --dtype float32 or "
                "fewer --inner-steps"
            )
        self.results.begin()
        for row, item in enumerate(batch):
            self.results.entries.append(self._finish(item, problems[row], result, row, len(batch)))
        for file in sorted({item.file for item in batch}):
            self._draw_if_complete(file)
        self.results.write(complete=False)

    def _problem(self, file: int) -> Problem:
        """The inverse problem of an input, kept until its last sample is done."""
        if file not in self.drawings:
            problem = self.reader.read(self.paths[file], file)
            picture = measurement_pictures(self.reader.operator, problem.y[None])[0]
            self.drawings[file] = Drawing(problem, picture)
        return self.drawings[file].problem

    def _solve(self, batch: list[Item], problems: list[Problem]) -> Result:
        settings = self.settings
        try:
            return solve(
                torch.stack([problem.y for problem in problems]).to(self.device),
                self.reader.operator,
                self.denoiser,
                method=settings.method,
                noise_std=torch.tensor([problem.noise_std for problem in problems]).double(),
                seed=settings.seed,
                sample_index=[self._sample_index(item) for item in batch],
                progress=sys.stderr.isatty(),
                keep_images=settings.figures,
                backend=settings.backend,
                **settings.solver_options(),
            )
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"--batch-size {len(batch)} needs more memory than {self.device} has; use less"
            ) from error

    def _sample_index(self, item: Item) -> int:
        return item.file * self.settings.samples + item.sample

    def _finish(
        self, item: Item, problem: Problem, result: Result, row: int, batch: int
    ) -> dict[str, Any]:
        """Write the picture of one restoration; returns its entry in the record."""
        image = result.image[row].detach().cpu().float()
        scores = score(image, problem.truth)
        write_picture(self.results.folder / self._picture(item), image)
        self.drawings[item.file].add(image, scores, result, row)
        return {
            "input": self.paths[item.file].name,
            "sample": item.sample,
            "sample_index": self._sample_index(item),
            "noise_std": problem.noise_std,
            **scores,
            "residual": float(result.residual[row]),
            "seconds": result.seconds / batch,
            "denoiser_calls": result.denoiser_calls,
            "vjp_calls": result.vjp_calls,
            "files": [self._picture(item), *self._figures(item.file)],
        }

    def _draw_if_complete(self, file: int) -> None:
        drawing = self.drawings[file]
        if len(drawing.restored) < self.settings.samples:
            return
        del self.drawings[file]
        if self.settings.figures:
            options = self.settings.solver_options()
            budget = f"N = {options['steps']}, K = {options['inner_steps']}"
            stem = shorten(self.paths[file].stem, 40)  # fits above a figure
            title = f"{stem}\n{self.settings.task} · {self.settings.method}, {budget}"
            comparison, levels = self._figures(file)
            drawing.write_comparison(self.results.folder / comparison, title)
            drawing.write_levels(self.results.folder / levels, title)
