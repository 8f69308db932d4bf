"""`oodinv recipes`: lists the edit recipes that come with oodinv."""

import json
from pathlib import Path
from typing import Annotated

import typer

from oodinv.cli import options
from oodinv.cli.console import print_facts

app = typer.Typer(help="List the edit recipes that come with oodinv.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """List the edit recipes that come with oodinv."""


@app.command("list", epilog="Example: oodinv recipes list hair")
def list_recipes(
    word: Annotated[
        str, typer.Argument(metavar="[WORD]", help="List only recipes with this word in name, description or model.")
    ] = "",
    as_json: options.Json = False,
) -> None:
    """List the edit recipes: what they do, the safe range of --strength, and a small picture before and after."""
    from oodinv.recipe.base import data_folder, recipe_names

    folder = data_folder("recipes") / "edit"
    summaries = [_summary(folder / f"{name}.yaml") for name in recipe_names("edit")]
    found = [s for s in summaries if any(word.casefold() in str(s[k]).casefold() for k in ("name", "does", "model"))]
    if as_json:
        typer.echo(json.dumps({"recipes": found}, indent=2))
    for summary in [] if as_json else found:
        _print(summary)
    if not found:
        typer.echo(f"no recipe matches {word!r}", err=True)


def _summary(path: Path) -> dict[str, object]:
    from oodinv import DEFAULT_MODEL
    from oodinv.directions.ranges import strength_range
    from oodinv.recipe.edit import read_edit_recipe

    recipe = read_edit_recipe(path)
    model, picture = recipe.model or DEFAULT_MODEL, path.with_suffix(".jpg")
    return {
        "name": path.stem,
        "does": recipe.description,
        "model": model,
        "directions": [step.direction for step in recipe.edits],
        "safe_range": strength_range(recipe, model),
        "thumbnail": str(picture) if picture.is_file() else None,
        "path": str(path),
    }


def _print(summary: dict[str, object]) -> None:
    bounds = summary["safe_range"]
    facts = {
        "strength": f"{bounds[0]:g} to {bounds[1]:g}" if isinstance(bounds, tuple) else "no safe range is known",
        "model": summary["model"],
        "picture": summary["thumbnail"],
        "file": summary["path"],
    }
    print_facts(f"{summary['name']}: {summary['does']}", facts)
