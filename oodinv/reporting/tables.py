"""Tables of measured and published numbers, and how they are written: CSV, JSON, Markdown, LaTeX, HTML.

The best measured value of a column is marked. Published values were measured by others under a protocol of their
own; they are never marked, and a dagger tells them apart.
"""

import csv
import html
import io
import json
from dataclasses import asdict, dataclass

from oodinv.metrics.base import Better

DAGGER, DASH = "†", "\N{EN DASH}"
ARROWS: dict[Better | None, str] = {"lower": " ↓", "higher": " ↑", None: ""}


@dataclass(frozen=True)
class Value:
    """A mean with its standard error and interval, where they are known, over `count` pictures."""

    mean: float
    error: float | None = None
    low: float | None = None
    high: float | None = None
    count: int | None = None


@dataclass(frozen=True)
class Column:
    """`key` for machines, `title` for people, which side is better, digits behind the point, what it means."""

    key: str
    title: str
    better: Better | None
    digits: int
    meaning: str

    @property
    def heading(self) -> str:
        """Title with an arrow to the better side."""
        return self.title + ARROWS[self.better]


@dataclass(frozen=True)
class Row:
    """One method's values by column key; a column it has no value for is missing."""

    labels: tuple[str, ...]
    values: dict[str, Value]
    published: bool = False


@dataclass(frozen=True)
class Table:
    """Columns and rows; `name` for files, `title` and `notes` for readers.

    marked: whether rows can be compared, so that the best value of a column is worth a mark.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    marked: bool = True


def best(table: Table) -> frozenset[tuple[int, str]]:
    """(row number, column key) of the best measured values; all of them where several are equal.

    Nothing is best where fewer than two rows were measured, or where all values are equal.
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
    """A cell for people: mean ± standard error, or a dash."""
    if value is None:
        return DASH
    mean = f"{value.mean:.{digits}f}"
    return mean if value.error is None else f"{mean} ± {value.error:.{digits}f}"


def labels(row: Row) -> tuple[str, ...]:
    """A row's labels, the first with a dagger if it was published by others."""
    return (row.labels[0] + (f" {DAGGER}" if row.published else ""), *row.labels[1:])


def to_csv(table: Table) -> str:
    """One line a row: labels, whether published, then mean, se, low, high, n and best for each column."""
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
    """Every table with full precision, its columns explained."""
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
    """A Markdown table with its columns explained below; the best values are bold."""
    marked = best(table)
    heads = [*table.labels, *(c.heading for c in table.columns)]
    lines = [f"## {table.title}", "", _pipe(heads), _pipe(["---"] * len(table.labels) + ["--:"] * len(table.columns))]
    for i, row in enumerate(table.rows):
        cells = list(labels(row))
        for c in table.columns:
            cell = text(row.values.get(c.key), c.digits)
            cells.append(f"**{cell}**" if (i, c.key) in marked else cell)
        lines.append(_pipe(cells))
    lines += ["", *(f"- **{c.title}**: {c.meaning}" for c in table.columns), *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _pipe(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", DASH: "--", "↓": r"$\downarrow$",
    "↑": r"$\uparrow$", DAGGER: r"$\dagger$", "·": r"$\cdot$", "…": r"\dots{}", "²": r"$^2$",
}  # fmt: skip


def _latex(words: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in words)


def to_latex(table: Table) -> str:
    """A LaTeX table for booktabs; the best values are bold."""
    marked = best(table)
    heads = [*table.labels, *(c.heading for c in table.columns)]
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex(table.title)}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.labels)}{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(map(_latex, heads)) + r" \\",
        r"\midrule",
    ]
    for i, row in enumerate(table.rows):
        cells = [_latex(label) for label in labels(row)]
        for c in table.columns:
            cell = _latex(text(row.values.get(c.key), c.digits))
            cells.append(rf"\textbf{{{cell}}}" if (i, c.key) in marked else cell)
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def to_html(table: Table, known: frozenset[Column] = frozenset()) -> str:
    """An HTML section: table, then what each column means; the best values are bold, intervals are tooltips.

    The meanings are folded where every column is among the `known` ones, explained before.
    """
    marked = best(table)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.labels)
    head += "".join(f'<th title="{html.escape(c.meaning)}">{html.escape(c.heading)}</th>' for c in table.columns)
    body = []
    for i, row in enumerate(table.rows):
        cells = "".join(f"<td>{html.escape(label)}</td>" for label in labels(row))
        cells += "".join(_cell(row.values.get(c.key), c, (i, c.key) in marked) for c in table.columns)
        body.append(f'<tr class="published">{cells}</tr>' if row.published else f"<tr>{cells}</tr>")
    meanings = "".join(f"<dt>{html.escape(c.heading)}</dt><dd>{html.escape(c.meaning)}</dd>" for c in table.columns)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
    shown = "" if known.issuperset(table.columns) else " open"
    return (
        f"<section><h2>{html.escape(table.title)}</h2><div class=scroll><table><tr>{head}</tr>{''.join(body)}</table>"
        f"</div>{notes}<details{shown}><summary>What the columns mean</summary><dl>{meanings}</dl></details></section>"
    )


def _cell(value: Value | None, column: Column, marked: bool) -> str:
    shown = html.escape(text(value, column.digits))
    shown = f"<b>{shown}</b>" if marked else shown
    if value is None or value.low is None or value.high is None:
        return f"<td class=number>{shown}</td>"
    tip = f"95 % interval {value.low:.{column.digits}f} to {value.high:.{column.digits}f}, n = {value.count}"
    return f'<td class=number title="{tip}">{shown}</td>'
