"""`--dry-run`: lists the planned work of a command after all of its checks."""

import json
from collections.abc import Iterable
from pathlib import Path

import typer

from oodinv.runs import manifest
from oodinv.runs.collect import Collected
from oodinv.runs.manifest import Header


def show_plan(found: Collected, output: Path, header: Header, *, restart: bool, as_json: bool) -> None:
    """Prints one line per input: the name of its results, and true if they exist.

    Raises:
        ManifestError: the output folder holds other results.
    """
    print_plan(plan_rows(found, output, header, restart=restart), output, found.notes, as_json=as_json)


def plan_rows(found: Collected, output: Path, header: Header, *, restart: bool) -> list[dict[str, str]]:
    """Returns one row per input: its path, the name of its results, their place, and true if they exist.

    Raises:
        ManifestError: the output folder holds other results.
    """
    if not restart:
        manifest.check_output(output, header)
    past = None if restart else manifest.read_all(output)
    entries = {} if past is None else past[1]
    rows = []
    for job in found.jobs:
        entry = entries.get(job.name)
        is_done = entry is not None and entry.is_complete(output)
        state = "unsupported" if job.unsupported is not None else "done already" if is_done else "to do"
        rows.append({"input": str(job.path), "name": job.name, "results": str(output / job.name), "state": state})
    return rows


def print_plan(rows: list[dict[str, str]], output: Path, notes: Iterable[str], *, as_json: bool) -> None:
    """Prints rows of `plan_rows`, as one JSON object or a line each."""
    if as_json:
        typer.echo(json.dumps({"output": str(output), "plan": rows, "notes": list(notes)}))
        return
    for row in rows:
        typer.echo(f"{row['state']:<13}{row['input']} -> {row['results']}")
    for note in notes:
        typer.echo(f"note: {note}", err=True)
