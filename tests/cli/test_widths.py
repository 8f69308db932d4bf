"""Terminals of 40, 80 and 200 columns: everything fits, and no name or number is cut."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from rich.console import Console

from oodinv.cli import progress, training_progress
from oodinv.cli.progress import Summary, conclude, follow
from oodinv.cli.tables import print_table
from oodinv.reporting.tables import Column, Table, TableRow, Value
from oodinv.runs.manifest import Entry
from oodinv.runs.runner import Event, Finished, Started
from oodinv.training import loop

WIDTHS = [40, 80, 200]
COLUMNS = tuple(Column(f"c{n}", f"Measure number {n}", "higher", 4, "words") for n in range(7))
TABLE = Table(
    "t",
    "A table of scores",
    ("model", "variant"),
    COLUMNS,
    (
        TableRow(("ffhq-mobile", "full"), {c.key: Value(0.1234, 0.0005) for c in COLUMNS}),
        TableRow(("a-method-with-a-name", "as published"), {"c1": Value(9.0)}, published=True),
    ),
    ("mean ± standard error over pictures; bold: the best measured value.",),
)


def terminal(columns: int) -> Console:
    return Console(width=columns, file=io.StringIO(), force_terminal=True, highlight=False, soft_wrap=True)


def shown(console: Console) -> list[str]:
    """Lines on the terminal, without colours; a bar that is drawn again is a line of its own."""
    assert isinstance(console.file, io.StringIO)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]", text)]


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_table_of_scores_fits_the_terminal_and_cuts_nothing(columns: int) -> None:
    console = Console(width=columns, file=io.StringIO(), highlight=False, markup=False)
    print_table(TABLE, console)
    lines = shown(console)
    assert max(map(len, lines)) <= columns
    words = " ".join(" ".join(lines).split())
    assert "…" not in words
    for name in ("ffhq-mobile", "a-method-with-a-name", "as published", "bold: the best measured value."):
        assert name in words
    assert words.count("0.1234 ± 0.0005") == 7
    assert all(column.heading in words for column in COLUMNS)


def events(count: int) -> Iterator[Event]:
    yield Started(count, 0)
    for n in range(count):
        yield Finished(Entry(f"photos/{n}.jpg", str(n), None, "done"))


@pytest.mark.parametrize("columns", WIDTHS)
def test_progress_of_a_run_cuts_no_number(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal(columns)
    monkeypatch.setattr(progress, "stderr", console)
    follow(events(166), Summary(Path("out")), "inverting, refining: 12/30", quiet=False)
    lines = shown(console)
    assert max(map(len, lines)) <= columns
    assert any("inverting, refining: 12/30" in line and "166/166" in line for line in lines)
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("columns", WIDTHS)
def test_progress_of_training_cuts_no_number(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal(columns)
    monkeypatch.setattr(training_progress, "stderr", console)
    steps: list[loop.Event] = [loop.Started(0, 30000, 8), *(loop.Logged(n, {"loss": 0.5}, 1.25) for n in (10, 30000))]
    training_progress.draw_training(iter(steps), quiet=False)
    lines = shown(console)
    assert max(map(len, lines)) <= columns
    assert any("30000/30000" in line for line in lines)


def test_the_summary_of_a_run_breaks_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal folds long lines itself, so that paths can be copied from it."""
    console = terminal(40)
    monkeypatch.setattr(progress, "stderr", console)
    path = "photos/a folder/with [brackets]/" + "long" * 20 + ".jpg"
    failed = Entry(path, "x", None, "failed", error=f"{path}: no face found")
    with pytest.raises(typer.Exit):
        conclude(Summary(Path("out"), total=1, failures=[failed]), as_json=False, quiet=False)
    assert f"failed: {path}: no face found" in shown(console)
