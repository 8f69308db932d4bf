"""Tables of measured and published numbers, written as CSV, JSON, Markdown and LaTeX.

The best measured value of each column is highlighted. Published values come from other authors' protocols: they are
marked with a dagger and never highlighted.
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from tabulate import tabulate

from oodinv.metrics.base import Better

DAGGER, DASH = "†", "\N{EN DASH}"
ARROWS: dict[Better | None, str] = {"lower": " ↓", "higher": " ↑", None: ""}


@dataclass(frozen=True)
class Value:
    """Mean over `count` pictures, with standard error and confidence interval if known."""

    mean: float
    error: float | None = None
    low: float | None = None
    high: float | None = None
    count: int | None = None


@dataclass(frozen=True)
class Column:
    """A column: machine-readable key, title, better direction, number of decimals, and explanation."""

    key: str
    title: str
    better: Better | None
    digits: int
    meaning: str

    @property
    def heading(self) -> str:
        """Title with an arrow in the better direction."""
        return self.title + ARROWS[self.better]


@dataclass(frozen=True)
class TableRow:
    """Values of one method by column key; columns without a value are absent."""

    labels: tuple[str, ...]
    values: dict[str, Value]
    published: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its file name, title and notes.

    marked: highlight the best value of each column; false if rows can't be compared.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    marked: bool = True


def best(table: Table) -> frozenset[tuple[int, str]]:
    """Finds the best measured values as (row index, column key), including ties.

    A column has none if fewer than two rows were measured or all values are equal.
    """
    if not table.marked:
        return frozenset()
    marked = set[tuple[int, str]]()
    for column in table.columns:
        means = {
            i: row.values[column.key].mean
            for i, row in enumerate(table.rows)
            if not row.published and column.key in row.values
        }
        if column.better is None or len(set(means.values())) < 2:
            continue
        top = (min if column.better == "lower" else max)(means.values())
        marked |= {(i, column.key) for i, mean in means.items() if mean == top}
    return frozenset(marked)


def text(value: Value | None, digits: int) -> str:
    """Formats a cell: mean ± standard error, or a dash."""
    if value is None:
        return DASH
    mean = f"{value.mean:.{digits}f}"
    return mean if value.error is None else f"{mean} ± {value.error:.{digits}f}"


def labels(row: TableRow) -> tuple[str, ...]:
    """Returns a row's labels; the first gets a dagger if the row was published by others."""
    return (row.labels[0] + (f" {DAGGER}" if row.published else ""), *row.labels[1:])


def to_csv(table: Table) -> str:
    """Writes one line per row: labels, the published flag, then mean, se, low, high, n and best of each column."""
    parts = ("mean", "se", "low", "high", "n", "best")
    marked = best(table)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*table.labels, "published", *(f"{c.key}.{part}" for c in table.columns for part in parts)])
    for i, row in enumerate(table.rows):
        cells: list[object] = [*row.labels, int(row.published)]
        for column in table.columns:
            v = row.values.get(column.key)
            known = [""] * 5 if v is None else [v.mean, v.error, v.low, v.high, v.count]
            cells += [*known, int((i, column.key) in marked)]
        writer.writerow(cells)
    return out.getvalue()


def to_json(tables: list[Table]) -> str:
    """Writes all tables at full precision, with explanations of their columns."""
    records = []
    for table in tables:
        marked = best(table)
        rows = [
            {
                **dict(zip(table.labels, row.labels, strict=True)),
                "published": row.published,
                "values": {k: {**asdict(v), "best": (i, k) in marked} for k, v in row.values.items()},
            }
            for i, row in enumerate(table.rows)
        ]
        columns = [asdict(column) for column in table.columns]
        records.append(
            {"name": table.name, "title": table.title, "columns": columns, "rows": rows, "notes": table.notes}
        )
    return json.dumps({"tables": records}, indent=1, ensure_ascii=False) + "\n"


def to_markdown(table: Table) -> str:
    """Writes a Markdown table with its columns explained below; the best values are bold."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in _cells(table, lambda cell: f"**{cell}**")]
    body = tabulate(escaped, _heads(table), "pipe", colalign=_alignment(table), disable_numparse=True)
    meanings = [*(f"- **{c.title}**: {c.meaning}" for c in table.columns), *(f"- {note}" for note in table.notes)]
    return "\n".join([f"## {table.title}", "", body, "", *meanings]) + "\n"


def _heads(table: Table) -> list[str]:
    return [*table.labels, *(column.heading for column in table.columns)]


def _alignment(table: Table) -> list[str]:
    return ["left"] * len(table.labels) + ["right"] * len(table.columns)


def _cells(table: Table, bold: Callable[[str], str]) -> list[list[str]]:
    """Formats all cells by row; `bold` is applied to the best values."""
    marked = best(table)
    return [
        [*labels(row)]
        + [
            bold(cell) if (i, c.key) in marked else cell
            for c in table.columns
            for cell in [text(row.values.get(c.key), c.digits)]
        ]
        for i, row in enumerate(table.rows)
    ]


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", DASH: "--", "↓": r"$\downarrow$",
    "↑": r"$\uparrow$", DAGGER: r"$\dagger$", "·": r"$\cdot$", "…": r"\dots{}", "²": r"$^2$",
}  # fmt: skip


def _latex(words: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in words)


def to_latex(table: Table) -> str:
    """Writes a LaTeX table for booktabs; the best values are bold."""
    marked = best(table)
    heads = [_latex(head) for head in _heads(table)]
    rows = [
        [_latex(label) for label in labels(row)]
        + [
            rf"\textbf{{{cell}}}" if (i, c.key) in marked else cell
            for c in table.columns
            for cell in [_latex(text(row.values.get(c.key), c.digits))]
        ]
        for i, row in enumerate(table.rows)
    ]
    body = tabulate(rows, heads, "latex_raw", colalign=_alignment(table), disable_numparse=True)
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):  # tabulate's own format for booktabs escapes all commands
        body = body.replace(r"\hline", rule, 1)
    return "\n".join([r"\begin{table}", rf"\caption{{{_latex(table.title)}}}", body, r"\end{table}"]) + "\n"


def interval(value: Value | None, digits: int) -> str:
    """Formats the 95 % interval and number of pictures of a value as a tooltip; empty if unknown."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f"95 % interval {value.low:.{digits}f} to {value.high:.{digits}f}, n = {value.count}"
