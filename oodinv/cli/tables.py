"""Tables of scores on the terminal."""

import sys

from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from oodinv.reporting.tables import Table, best, labels, text

_PIPE = 1000  # columns: a pipe has no width, and nothing is to be wrapped there


def print_table(table: Table, console: Console | None = None) -> None:
    """Prints a table on stdout, or, in terminals that are too narrow for it, the values of each row below each other.

    console: another place to print, for tests.
    """
    width = None if sys.stdout.isatty() else _PIPE
    console = console or Console(width=width, highlight=False, markup=False)
    cells = _cells(table)
    drawn = RichTable(title=table.title, title_justify="left", caption="\n".join(table.notes), caption_justify="left")
    for name in table.labels:
        drawn.add_column(name, no_wrap=True)
    for column in table.columns:
        drawn.add_column(column.heading, justify="right")
    for row, values in zip(table.rows, cells, strict=True):
        drawn.add_row(*labels(row), *values)
    if Measurement.get(console, console.options.update(max_width=_PIPE), drawn).maximum <= console.width:
        console.print(drawn)
    else:
        _print_stacked(table, cells, console)


def _print_stacked(table: Table, cells: list[list[Text]], console: Console) -> None:
    console.print(table.title, style="italic")
    longest = max((len(column.heading) for column in table.columns), default=0)
    for row, values in zip(table.rows, cells, strict=True):
        console.print(", ".join(labels(row)), style="bold")
        for column, value in zip(table.columns, values, strict=True):
            if column.key not in row.values:
                continue
            console.print(Padding(Text.assemble(f"{column.heading:<{longest}}  ", value), (0, 0, 0, 2)))
    for note in table.notes:
        console.print(note, style="dim italic")


def _cells(table: Table) -> list[list[Text]]:
    """Values of each row, the best of each column marked."""
    marked = best(table)

    def style(row: int, key: str) -> str:
        return "bold green" if (row, key) in marked else "dim" if table.rows[row].published else ""

    return [
        [Text(text(row.values.get(c.key), c.digits), style=style(n, c.key)) for c in table.columns]
        for n, row in enumerate(table.rows)
    ]
