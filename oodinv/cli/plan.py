"""`--dry-run`: lists the planned work of a command after all of its checks."""

import json
from pathlib import Path

import typer

from oodinv.runs import manifest
from oodinv.runs.collect import Collected
from oodinv.runs.manifest import Header


def show_plan(found: Collected, output: Path, header: Header, *, restart: bool, as_json: bool) -> None:
    """Prints one line per input: the name of its results, and whether they already exist.

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
        rows.append({"input": str(job.path), "name": job.name, "state": state})
    if as_json:
        typer.echo(json.dumps({"output": str(output), "plan": rows, "notes": list(found.notes)}))
        return
    for row in rows:
        typer.echo(f"{row['state']:<13}{row['input']} -> {output / row['name']}")
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
