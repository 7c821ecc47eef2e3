"""Tables of a comparison, once as data, then as Markdown, LaTeX and HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vml_fast.evaluation import tables
from vml_fast.evaluation.comparison.statistics import Estimate


@dataclass(frozen=True)
class Entry:
    """One entry of a table.

    Attributes:
        text: what stands there.
        interval: a confidence interval, "" for none.
        best: whether it is the best of its column.
    """

    text: str
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: above it.
        header: one name per column.
        rows: entries, the first of each row its name.
        note: below the title, "" for none.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    note: str = ""


MISSING = Entry("–")
FORMATS = {
    "psnr": ".2f", "ssim": ".3f", "residual": ".1e", "lpips": ".3f", "st_lpips": ".3f",
    "frechet": ".3g", "kernel": ".2e", "fid": ".2f", "kid": ".2e", "seconds": ".2f",
}  # fmt: skip


def shown(value: float, form: str) -> str:
    """A number in a table; infinity and NaN as signs."""
    if math.isnan(value):
        return "diverged"
    return ("∞" if value > 0 else "-∞") if math.isinf(value) else format(value, form)


def entry(found: Estimate, form: str, *, best: bool = False) -> Entry:
    """A mean with its interval."""
    interval = f"{found.low:{form}}, {found.high:{form}}" if found.has_interval else ""
    return Entry(shown(found.mean, form), interval, best)


def markdown(table: Table) -> str:
    """The table in Markdown, under a heading of the third level."""
    lines = [f"### {table.title}", ""]
    if table.note:
        lines += [table.note, ""]
    rows = [[_markdown_entry(cell) for cell in row] for row in table.rows]
    return "\n".join([*lines, tables.markdown(table.header, rows)])


def _markdown_entry(cell: Entry) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    return f"{text} [{cell.interval}]" if cell.interval else text


def latex(table: Table) -> str:
    """The table in LaTeX (booktabs), intervals as small print."""
    columns = "l" + "r" * (len(table.header) - 1)
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex_text(table.title)}. {_latex_text(table.note)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(_latex_text(name) for name in table.header) + r" \\",
        r"\midrule",
        *(" & ".join(_latex_entry(cell) for cell in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join([*lines, ""])


def _latex_entry(cell: Entry) -> str:
    text = _latex_text(cell.text)
    text = rf"\textbf{{{text}}}" if cell.best else text
    return rf"{text} {{\tiny [{_latex_text(cell.interval)}]}}" if cell.interval else text


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$",
    "σ_y": r"$\sigma_y$", "σ": r"$\sigma$", "×": r"$\times$", "∞": r"$\infty$", "–": "--",
    "±": r"$\pm$", "ζ": r"$\zeta$", "β": r"$\beta$", "⁺": "$^+$", "−": "$-$", "Δ": r"$\Delta$",
    "é": r"\'e",
}  # fmt: skip


def _latex_text(text: str) -> str:
    out = []
    while text:
        sign = next((s for s in ("σ_y", text[0]) if text.startswith(s)), text[0])
        out.append(_LATEX.get(sign, sign))
        text = text[len(sign) :]
    return "".join(out)


def as_html(table: Table) -> str:
    """The table in HTML, under a heading of the third level."""
    escape: Callable[[str], str] = html.escape
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    body = []
    for row in table.rows:
        cells = []
        for cell in row:
            interval = f"<small>[{escape(cell.interval)}]</small>" if cell.interval else ""
            mark = ' class="best"' if cell.best else ""
            cells.append(f"<td{mark}>{escape(cell.text)}{interval}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    return (
        f"<h3>{escape(table.title)}</h3>{note}<div class=scroll><table><thead><tr>{head}</tr>"
        f"</thead><tbody>{''.join(body)}</tbody></table></div>\n"
    )
