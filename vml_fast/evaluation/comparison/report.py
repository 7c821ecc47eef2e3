"""Writes what a comparison found: tables as JSON, Markdown and LaTeX, figures, one HTML page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from vml_fast.evaluation.comparison import orderings, plots, results, tables
from vml_fast.evaluation.comparison.cell_runner import CellRunner
from vml_fast.evaluation.comparison.cells import Cell
from vml_fast.evaluation.comparison.results import PER_IMAGE, Done
from vml_fast.evaluation.comparison.store import Store
from vml_fast.evaluation.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 100
"""Less than a single figure has: there are many, and all of them are in the page."""
SHOWN_METRICS = ("psnr", "ssim", "st_lpips", "lpips")
"""Metrics that are drawn against the network passes, where they were computed."""


@dataclass
class Report:
    """The report of a comparison, whole or of what is done so far.

    Attributes:
        title: of the page.
        command: that makes it.
        notes: sentences about prior, data and what is missing.
    """

    title: str
    command: str
    notes: Sequence[str] = field(default_factory=tuple)

    def write(self, cells: Sequence[Cell], runner: CellRunner, store: Store) -> list[Path]:
        """Write tables.md, tables.tex, figures/*.png and report.html into the store's folder.

        A figure of restorations that are not all on this machine is left as it is.

        Returns:
            The files.
        """
        done = [Done(cell, found) for cell in cells if (found := store.record(cell)) is not None]
        progress = f"{len(done)} of {len(cells)} cells are done."
        overviews, details = self._tables(cells, done)
        pictures = self._figures(done, runner, store)
        files = {
            "tables.md": self._markdown(progress, overviews, details, done, pictures),
            "tables.tex": "\n".join(tables.latex(table) for table in [*overviews, *details]),
            "report.html": self._html(progress, overviews, details, done, pictures),
        }
        for name, text in files.items():
            write_whole(store.folder / name, lambda file, t=text: file.write(t.encode()))  # type: ignore[misc]
        return [*(store.folder / name for name in files), *pictures]

    def _tables(
        self, cells: Sequence[Cell], done: Sequence[Done]
    ) -> tuple[list[tables.Table], list[tables.Table]]:
        found = [group for group in results.groups(cells) if _has_cells(done, group)]
        overviews = [results.overview(done, group) for group in found]
        overviews += orderings.ordering_summaries(done)
        details = []
        for group in found:
            details += results.metric_tables(done, group)
            if group[1]:
                details.append(results.cost_table(done, group))
        details += orderings.ordering_tables(done)
        return overviews, [*details, *results.budget_tables(cells)]

    def _figures(self, done: Sequence[Done], runner: CellRunner, store: Store) -> dict[Path, str]:
        """Draw what can be drawn; file to caption, with grids that were drawn before."""
        folder = store.folder / "figures"
        folder.mkdir(exist_ok=True)
        drawn: dict[Path, str] = {}

        def draw(path: Path, caption: str, figure: Figure) -> None:
            write_whole(path, lambda file: file.write(_png(figure)))
            drawn[path] = caption

        for noise_std in dict.fromkeys(one.cell.noise_std for one in done):
            for metric in SHOWN_METRICS:
                figure = plots.pareto_figure(done, metric, noise_std)
                path = folder / f"passes-{metric}-noise{noise_std:g}.png"
                if figure is not None:
                    draw(path, f"{PER_IMAGE[metric]} against network passes", figure)
        for group, task in _largest(done):
            words = f"{task.replace('/', '_')}-noise{group[0]:g}-{group[1]}-{group[2]}"
            path, caption = folder / f"{words}.png", f"{task}, {results.group_title(group)}"
            figure, complete = plots.restoration_grid(done, group, task, runner, store)
            if figure is not None and (complete or not path.is_file()):
                draw(path, caption, figure)
            elif path.is_file():
                drawn[path] = caption
        return drawn

    def _markdown(
        self,
        progress: str,
        overviews: Sequence[tables.Table],
        details: Sequence[tables.Table],
        done: Sequence[Done],
        pictures: dict[Path, str],
    ) -> str:
        lines = [f"# {self.title}", "", progress, f"Made by `{self.command}`.", ""]
        lines += [f"* {note}" for note in self.notes]
        lines += [f"* Nothing from {sentence}" for sentence in results.failures(done)]
        lines += ["", "## Overview", "", *map(tables.markdown, overviews)]
        lines += ["## In detail", "", *map(tables.markdown, details)]
        if pictures:
            lines += ["## Figures", ""]
            lines += [f"![{text}](figures/{path.name})" for path, text in pictures.items()]
        return "\n".join([*lines, ""])

    def _html(
        self,
        progress: str,
        overviews: Sequence[tables.Table],
        details: Sequence[tables.Table],
        done: Sequence[Done],
        pictures: dict[Path, str],
    ) -> str:
        sentences = [*self.notes, *(f"Nothing from {text}" for text in results.failures(done))]
        images = [
            f'<figure><img alt="{html.escape(text)}" src="data:image/png;base64,'
            f'{base64.b64encode(path.read_bytes()).decode()}"><figcaption>{html.escape(text)}'
            "</figcaption></figure>\n"
            for path, text in pictures.items()
        ]
        return PAGE.substitute(
            title=html.escape(self.title),
            progress=html.escape(progress),
            command=html.escape(self.command),
            notes="".join(f"<li>{html.escape(text)}</li>" for text in sentences),
            overviews="".join(map(tables.as_html, overviews)),
            figures="".join(images),
            details="".join(map(tables.as_html, details)),
        )


def _has_cells(done: Sequence[Done], group: results.Group) -> bool:
    return any(one.cell.group == group for one in done)


def _largest(done: Sequence[Done]) -> list[tuple[results.Group, str]]:
    """Each task and noise level at the largest budget that was done."""
    largest: dict[tuple[str, float], results.Group] = {}
    for one in done:
        key = one.cell.task, one.cell.noise_std
        if one.cell.budget > largest.get(key, (0.0, 0, 0))[1]:
            largest[key] = one.cell.group
    return [(group, task) for (task, _), group in largest.items()]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    return buffer.getvalue()


PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; margin: 2rem auto; max-width: 76rem;
       padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d7de }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem } p { margin: .2rem 0 .5rem; color: #57606a }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .82rem; white-space: nowrap }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #d8dee4; text-align: right }
th:first-child, td:first-child { text-align: left }
td small { display: block; color: #6b7280; font-size: .7rem } .best { font-weight: 700 }
img { max-width: 100% } figure { margin: 1.2rem 0 } figcaption { color: #57606a }
code { background: #f3f4f6; padding: .1rem .3rem }
</style>
<h1>$title</h1>
<p>$progress Made by <code>$command</code>.</p>
<ul>$notes</ul>
<h2>Overview</h2>
$overviews
<h2>Figures</h2>
$figures
<h2>In detail</h2>
$details
</html>
""")
