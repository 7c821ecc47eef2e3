"""The run behind `vml-fast bench`, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vml_fast.checks import check_count
from vml_fast.cli.bench import RUNG_KEYS
from vml_fast.cli.checks import check_name
from vml_fast.cli.environment import execution
from vml_fast.cli.measure_settings import MeasureSettings, describe
from vml_fast.cli.tables import print_table
from vml_fast.errors import require
from vml_fast.evaluation.figures import write_figure
from vml_fast.evaluation.files import check_writable, refuse_existing, write_json
from vml_fast.evaluation.ladder import ladder
from vml_fast.evaluation.machine import device_words
from vml_fast.evaluation.throughput import Timings, compare
from vml_fast.evaluation.throughput_figure import throughput_figure

RECORD, CHART = "bench.json", "bench.png"
COLUMNS = (
    "each adds to the one above", "faster", "ms per step", "images/s", "warm-up, s",
    "memory, MiB", "difference",
)  # fmt: skip


class BenchRun:
    """Compares the rungs of the ladder on one solve.

    Args:
        settings: what is solved.
        output: folder of the results, or None.
        repeats: timed solves of each rung, at least 1.
        skip: keys of rungs to leave out.
        chart: whether to draw the chart, where there is an output.
        overwrite: whether results in `output` may be replaced.

    Raises:
        InputError, MissingExtra, BackendUnavailable: something cannot be used; nothing was written.
    """

    def __init__(
        self,
        settings: MeasureSettings,
        output: Path | None,
        *,
        repeats: int,
        skip: Sequence[str],
        chart: bool,
        overwrite: bool,
    ) -> None:
        self.device = settings.check()
        self.repeats = check_count("--repeats", repeats, 1)
        for key in skip:
            check_name("--skip", key, RUNG_KEYS)
        if output is not None:
            check_writable(output)
            refuse_existing(output, (RECORD, CHART), overwrite=overwrite)
            if chart:
                require("matplotlib", "figures")
        self.settings, self.output, self.skip, self.chart = settings, output, skip, chart

    def run(self) -> Timings:
        """Measure, print, and write what was asked for."""
        workload = self.settings.workload(self.device)
        console = Console()
        with Console(stderr=True).status("") as status:
            timings = compare(
                workload,
                ladder(self.device, self.skip),
                repeats=self.repeats,
                backend=self.settings.backend,
                say=status.update,
            )
        about = execution(self.device)
        machine = device_words(self.device)
        rows = timings.rows()
        heading = f"{machine}: {describe(self.settings)}"
        print_table(console, heading, COLUMNS, table_rows(rows))
        for key, reason in timings.left_out.items():
            console.print(f"without {key}: {reason}", highlight=False, markup=False)
        if self.output is not None:
            self._write(about, timings, rows, machine)
            console.print(f"wrote {self.output}", soft_wrap=True, markup=False)
        return timings

    def _write(
        self,
        about: dict[str, Any],
        timings: Timings,
        rows: list[dict[str, Any]],
        machine: str,
    ) -> None:
        assert self.output is not None
        self.output.mkdir(parents=True, exist_ok=True)
        record = {
            "settings": self.settings.record() | {"repeats": self.repeats},
            "execution": about,
            "rows": rows,
            "left_out": timings.left_out,
        }
        write_json(self.output / RECORD, record)
        if self.chart:
            figure = throughput_figure(rows, title=machine, subtitle=describe(self.settings))
            write_figure(self.output / CHART, figure)


def table_rows(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Cells of the table."""
    return [
        (
            row["label"],
            f"{row['speed_up']:.2f}×",
            f"{row['milliseconds_per_inner_step']:.4g}",
            f"{row['images_per_second']:.3g}",
            f"{row['warm_up_seconds']:.1f}",
            "-" if row["extra_bytes"] is None else f"{row['extra_bytes'] / 2**20:.0f}",
            f"{row['difference']:.0e}" if row["difference"] else "",
        )
        for row in rows
    ]
