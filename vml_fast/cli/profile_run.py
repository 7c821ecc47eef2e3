"""The run behind `vml-fast profile`, and its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vml_fast.checks import check_count
from vml_fast.cli.checks import check_name
from vml_fast.cli.environment import execution
from vml_fast.cli.measure_settings import MeasureSettings, describe
from vml_fast.cli.tables import print_table
from vml_fast.denoisers import accelerate
from vml_fast.denoisers.precision import DTYPES
from vml_fast.errors import InputError
from vml_fast.evaluation import profiling
from vml_fast.evaluation.files import check_writable, refuse_existing, write_json, write_whole
from vml_fast.evaluation.profiling import Kernel, Ratio
from vml_fast.evaluation.stopwatch import Part
from vml_fast.evaluation.tables import markdown
from vml_fast.evaluation.text import shorten
from vml_fast.evaluation.timing import seconds_of
from vml_fast.evaluation.workload import bare_pass, runner_options
from vml_fast.solvers import Result

TRACE, RECORD, PAGE = "trace.json", "profile.json", "profile.md"
PARTS_COLUMNS = ("part", "calls", "ms in all", "ms each", "share")
KERNEL_COLUMNS = ("kernel", "calls", "ms in all", "share")
NAME_WIDTH = 60


@dataclass(frozen=True)
class RunnerSettings:
    """How the network runs: the options under their names; see the command's help."""

    accelerate: bool
    dtype: str
    compile: str
    cuda_graph: str

    def check(self) -> None:
        """Raise an InputError for a value outside what is allowed."""
        check_name("--dtype", self.dtype, ("auto", *DTYPES))
        if not self.accelerate and self.dtype not in ("auto", "float32"):
            raise InputError(
                f"--dtype is {self.dtype!r} with --no-accelerate, which runs the prior as it was "
                "trained, in float32; leave one of them out"
            )

    def ratio_note(self, ratio: Ratio | None) -> list[str]:
        """The ratio of an inner step to the bare network, as a sentence."""
        if ratio is None:
            return []
        forms = [
            w for w, on in (("compiled", self.compile), ("recorded", self.cuda_graph)) if on == "on"
        ]
        return [
            f"Inner step {1e3 * ratio.inner_step:.2f} ms, the network's forward + VJP alone "
            f"({' and '.join(forms) or 'eager'}) {1e3 * ratio.bare_pass:.2f} ms: "
            f"ratio {ratio.value:.3f}."
        ]


class ProfileRun:
    """Profiles one solve.

    Args:
        settings: what is solved.
        runner: how the network runs.
        output: folder of the results.
        top: kernels in the table, at least 1.
        overwrite: whether results in `output` may be replaced.

    Raises:
        InputError, MissingExtra, BackendUnavailable: something cannot be used; nothing was written.
    """

    def __init__(
        self,
        settings: MeasureSettings,
        runner: RunnerSettings,
        output: Path,
        *,
        top: int,
        overwrite: bool,
    ) -> None:
        self.device = settings.check()
        runner.check()
        self.top = check_count("--top", top, 1)
        check_writable(output)
        refuse_existing(output, (TRACE, RECORD, PAGE), overwrite=overwrite)
        self.output = output
        self.settings, self.runner = settings, runner
        self.workload = settings.workload(self.device)
        plain = self.workload.denoiser
        self.denoiser = (
            accelerate(plain, runner.dtype, backend=settings.backend)
            if runner.accelerate
            else plain
        )
        self.solver = self.workload.solver(
            self.denoiser,
            backend=settings.backend,
            **runner_options(runner.compile, runner.cuda_graph),
        )

    def solve(self) -> Result:
        """The solve that is profiled."""
        return self.solver.solve(self.workload.y)

    def capture(self) -> None:
        """Warm up, and run the part that nsys and ncu record."""
        self.solve()
        seconds, _ = profiling.measured_parts(self.solve, self.device)
        Console().print(f"captured one solve of {seconds:.3f} s", highlight=False)

    def profile(self) -> None:
        """Measure everything, write it and print it."""
        first = seconds_of(self.solve, self.device)
        seconds, parts = profiling.measured_parts(self.solve, self.device)
        bare = self._bare_pass()
        ratio = profiling.inner_step_ratio(self.solve, bare, self.device)
        self.output.mkdir(parents=True, exist_ok=True)
        kernels = profiling.traced_kernels(
            self.solve, self.device, self.output / TRACE, top=self.top
        )
        about = execution(self.device)
        warm_up = max(0.0, first - seconds)
        record: dict[str, Any] = {
            "settings": self.settings.record() | asdict(self.runner),
            "execution": about,
            "solve_seconds": seconds,
            "warm_up_seconds": warm_up,
            "parts": [part._asdict() for part in parts],
            "inner_step": None if ratio is None else asdict(ratio) | {"ratio": ratio.value},
            "kernels": [kernel._asdict() for kernel in kernels],
        }
        write_json(self.output / RECORD, record)
        heading = f"{about['device_name']}: {describe(self.settings)}, {seconds:.3f} s"
        notes = [f"Warm-up, not counted: {warm_up:.3f} s.", *self.runner.ratio_note(ratio)]
        self._write_page(heading, notes, parts, kernels)
        self._print(heading, notes, parts, kernels)

    def _bare_pass(self) -> Callable[[], Any]:
        """The network alone, compiled and recorded where the solve was told to be."""
        return bare_pass(
            self.denoiser,
            self.workload.batch,
            compile=self.runner.compile == "on",
            cuda_graph=self.runner.cuda_graph == "on",
        )

    def _write_page(
        self, heading: str, notes: list[str], parts: list[Part], kernels: list[Kernel]
    ) -> None:
        text = "\n".join(
            [
                "# Profile\n",
                heading + "\n",
                markdown(PARTS_COLUMNS, part_rows(parts)),
                *(note + "\n" for note in notes),
                markdown(KERNEL_COLUMNS, kernel_rows(kernels)),
            ]
        )
        write_whole(self.output / PAGE, lambda file: file.write(text.encode()))

    def _print(
        self, heading: str, notes: list[str], parts: list[Part], kernels: list[Kernel]
    ) -> None:
        console = Console()
        print_table(console, heading, PARTS_COLUMNS, part_rows(parts))
        for note in notes:
            console.print(note, highlight=False, soft_wrap=True)
        kernels = [kernel._replace(name=shorten(kernel.name, NAME_WIDTH)) for kernel in kernels]
        print_table(console, "\nTop kernels", KERNEL_COLUMNS, kernel_rows(kernels))
        console.print(f"wrote {self.output / TRACE}, {RECORD}, {PAGE}", soft_wrap=True)


def part_rows(parts: Sequence[Part]) -> list[tuple[str, ...]]:
    """Cells of the table of shares."""
    return [
        (
            part.name,
            str(part.calls) if part.calls else "",
            f"{1e3 * part.seconds:.1f}",
            f"{1e3 * part.seconds / part.calls:.3f}" if part.calls else "",
            f"{part.share:.1%}",
        )
        for part in parts
    ]


def kernel_rows(kernels: Sequence[Kernel]) -> list[tuple[str, ...]]:
    """Cells of the table of kernels."""
    return [
        (kernel.name, str(kernel.calls), f"{1e3 * kernel.seconds:.1f}", f"{kernel.share:.1%}")
        for kernel in kernels
    ]
