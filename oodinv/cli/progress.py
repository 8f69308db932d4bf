"""Progress bar and summary of a run."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from oodinv.cli.console import BAR_ROOM, stderr
from oodinv.cli.logs import LOG
from oodinv.runs.manifest import Entry
from oodinv.runs.runner import Event, Finished, Started

if TYPE_CHECKING:
    from oodinv.fitting.refinement import Refiner
    from oodinv.fitting.tuning import Tuner

SHOWN = 5
"""Maximum number of photos with remarks, and of unsupported files, in the summary; manifest and --json list all."""


@dataclass
class Summary:
    """The outcome of a run.

    kept: number of inputs finished by an earlier run. unsupported: files of types that can't be read. warnings: notes
    that are printed at the start.
    """

    output: Path
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    total: int = 0
    kept: int = 0
    done: int = 0
    failures: list[Entry] = field(default_factory=list)
    unsupported: list[Entry] = field(default_factory=list)
    remarks: list[Entry] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_whole(self) -> bool:
        """True if every input is done."""
        return not self.failures and not self.unsupported

    @property
    def speed(self) -> float:
        """Inputs that this run processed per second."""
        return (self.done + len(self.failures)) / self.seconds if self.seconds else 0.0

    def warn(self, warnings: tuple[str, ...], quiet: bool) -> None:
        """Prints warnings before the run and adds them to the summary."""
        self.warnings += warnings
        for warning in () if quiet else warnings:
            stderr.print(f"[yellow]warning:[/] {escape(warning)}")

    def take_failures(self, other: "Summary") -> None:
        """Adds the failures and remarks of an earlier step of the same command."""
        self.failures += other.failures
        self.unsupported += other.unsupported
        self.remarks += other.remarks
        self.total += len(other.failures) + len(other.unsupported)

    def to_json(self) -> str:
        """Formats the summary as one line of JSON."""
        record = {
            "output": str(self.output),
            "total": self.total,
            "kept": self.kept,
            "done": self.done,
            "failed": [{"input": e.input, "error": e.error} for e in self.failures],
            "unsupported": [{"input": e.input, "error": e.error} for e in self.unsupported],
            "remarks": [{"input": e.input, "remarks": e.remarks} for e in self.remarks],
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.speed, 3),
            "notes": [*self.warnings, *self.notes],
        }
        return json.dumps(record)


def follow(
    events: Iterator[Event], summary: Summary, title: str, quiet: bool, fitting: "Refiner | Tuner | None" = None
) -> Summary:
    """Shows progress until the events end and fills in the summary; on Ctrl-C, prints how to resume.

    fitting: the refiner or tuner of the run, if this process computes; its steps are shown too.
    """
    start = time.perf_counter()
    first = next(events, None)  # a run that can't start raises here, before the bar is shown
    if first is None:
        return summary
    with _going_on_told(quiet), Progress(*_columns(), console=stderr, disable=quiet) as progress:
        bar = progress.add_task(title, total=None, speed="")
        if fitting is not None:
            steps, doing = fitting.steps, fitting.verb
            fitting.on_step = lambda done: progress.update(bar, description=f"{title}, {doing}: {done}/{steps}")
        for event in chain([first], events):
            summary.seconds = time.perf_counter() - start
            _log(event, title)
            match event:
                case Started(total, kept):
                    summary.total, summary.kept = total, kept
                    progress.update(bar, total=total, completed=kept)
                case Finished(entry) if entry.status == "done":
                    summary.done += 1
                    if entry.remarks:
                        summary.remarks.append(entry)
                    progress.update(bar, advance=1, speed=f"{summary.speed:.2f} images/s")
                case Finished(entry) if entry.status == "unsupported":
                    summary.unsupported.append(entry)
                    progress.update(bar, advance=1)
                case Finished(entry):
                    summary.failures.append(entry)
                    progress.update(bar, advance=1, speed=f"{summary.speed:.2f} images/s")
    summary.seconds = time.perf_counter() - start
    return summary


def _columns() -> tuple[ProgressColumn, ...]:
    """Columns of the progress bar that the terminal has room for."""
    described, counted = TextColumn("{task.description}"), MofNCompleteColumn()
    if stderr.width < BAR_ROOM:
        return described, counted, TimeRemainingColumn(compact=True)
    return SpinnerColumn(), described, BarColumn(), counted, TextColumn("{task.fields[speed]}"), TimeRemainingColumn()


def _log(event: Event, title: str) -> None:
    match event:
        case Started(total, kept):
            LOG.info("%s: %d inputs, of which %d are done already", title, total, kept)
        case Finished(entry):
            words = entry.error or "; ".join(entry.remarks)
            LOG.info("%s: %s %s in %.3f s %s", title, entry.status, entry.input, entry.seconds, words)


@contextmanager
def _going_on_told(quiet: bool) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if not quiet:
            stderr.print("stopped; finished photos are saved, repeat the command to resume")
        raise


@contextmanager
def timed(summary: Summary) -> Iterator[None]:
    """Measures the seconds of work that yields no events."""
    start = time.perf_counter()
    yield
    summary.seconds = time.perf_counter() - start


def conclude(summary: Summary, *, as_json: bool, quiet: bool) -> None:
    """Prints the summary and the failures.

    Raises:
        typer.Exit: with status 1 if an image failed or a file has an unsupported type.
    """
    if as_json:
        typer.echo(summary.to_json())
    if not quiet:
        _print(summary)
    else:
        _print_failures(summary)
    if not summary.is_whole:
        raise typer.Exit(1)


def _print(summary: Summary) -> None:
    kept = f", {summary.kept} done by an earlier run" if summary.kept else ""
    unsupported = f", {len(summary.unsupported)} of unsupported types" if summary.unsupported else ""
    stderr.print(
        f"[bold]{summary.done} done[/]{kept}, {len(summary.failures)} failed{unsupported}, of {summary.total} "
        f"in {summary.seconds:.1f} s ({summary.speed:.2f} images/s)"
    )
    for note in summary.notes:
        stderr.print(f"[yellow]note:[/] {escape(note)}")
    for entry in summary.remarks[:SHOWN]:
        stderr.print(f"[yellow]note:[/] {escape(entry.input)}: {escape('; '.join(entry.remarks))}")
    if len(summary.remarks) > SHOWN:
        stderr.print(f"[yellow]note:[/] {len(summary.remarks) - SHOWN} more photos have notes in the manifest")
    _print_failures(summary)
    stderr.print(f"results: {escape(str(summary.output))}")


def _print_failures(summary: Summary) -> None:
    for entry in summary.failures:
        stderr.print(f"[red]failed:[/] {escape(entry.error or entry.input)}")
    by_suffix: dict[str, list[Entry]] = {}
    for entry in summary.unsupported:
        by_suffix.setdefault(Path(entry.input).suffix.lower(), []).append(entry)
    for suffix, entries in sorted(by_suffix.items()):
        advice = (entries[0].error or "").rpartition("; ")[2]
        names = ", ".join(entry.input for entry in entries[:SHOWN]) + (", …" if len(entries) > SHOWN else "")
        stderr.print(f"[red]not read:[/] {len(entries)} {suffix} ({escape(names)}); {escape(advice)}")
