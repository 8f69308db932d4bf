"""`oodinv directions list`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodinv.cli import options
from oodinv.cli.console import print_facts
from oodinv.cli.directions.common import summary

if TYPE_CHECKING:
    from oodinv.directions import Direction


def list_directions(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="Direction files to list instead of the shipped ones."),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only those of this model.")] = None,
    as_json: options.Json = False,
) -> None:
    """List the shipped directions, or those in files, with the unit of strength and the safe range."""
    from oodinv.directions import read, shipped
    from oodinv.recipe.base import data_folder
    from oodinv.recipe.card import find_card, read_card

    if files:
        paths = files
    else:
        folder = data_folder("pretrained") / "directions"
        names = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        paths = [path for name in names for path in shipped(name).values()]
    wanted = None if model is None else read_card(find_card(model)).name
    found = [(path, read(path)) for path in paths]
    chosen = [(path, direction) for path, direction in found if wanted in (None, direction.model)]
    if as_json:
        typer.echo(json.dumps({"directions": [summary(d, path) for path, d in chosen]}, indent=2))
        return
    for path, direction in chosen:
        _print(direction, path)


def _print(direction: "Direction", path: Path) -> None:
    low, high = direction.safe_range or (None, None)
    facts = {
        "what": direction.description,
        "strength 1": direction.unit,
        "safe range": "unknown" if low is None else f"{low} to {high}",
        "layers": "all" if direction.layers is None else ", ".join(map(str, direction.layers)),
        "method": direction.method,
        "file": str(path),
    }
    print_facts(f"{direction.model}/{direction.name}", facts)
