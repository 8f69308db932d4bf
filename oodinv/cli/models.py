"""`oodinv models`: lists the models whose cards come with oodinv."""

import json
from pathlib import Path
from typing import Annotated

import typer

from oodinv.cli import options
from oodinv.cli.console import print_facts

app = typer.Typer(help="List the models that oodinv has cards of.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """List the models that oodinv has cards of."""


@app.command("list", epilog="Example: oodinv models list mobile")
def list_models(
    word: Annotated[
        str, typer.Argument(metavar="[WORD]", help="List only models with this word in name or description.")
    ] = "",
    as_json: options.Json = False,
) -> None:
    """List the models: what they are, their directions with safe ranges, their licence, and files that are missing."""
    from oodinv.recipe.base import data_folder
    from oodinv.recipe.card import card_names

    summaries = [_summary(data_folder("pretrained") / f"{name}.yaml") for name in card_names()]
    found = [s for s in summaries if any(word.casefold() in str(s[key]).casefold() for key in ("name", "does"))]
    if as_json:
        typer.echo(json.dumps({"models": found}, indent=2))
    for summary in [] if as_json else found:
        _print(summary)
    if not found:
        typer.echo(f"no model matches {word!r}", err=True)


def _summary(path: Path) -> dict[str, object]:
    from oodinv import DEFAULT_MODEL
    from oodinv.directions import read, shipped
    from oodinv.recipe.base import read_yaml
    from oodinv.recipe.card import GeneratorOnlyCard
    from oodinv.weights.build import missing_files

    card: GeneratorOnlyCard = read_yaml(path, GeneratorOnlyCard)
    return {
        "name": card.name,
        "default": card.name == DEFAULT_MODEL,
        "does": card.description,
        "size": card.size,
        "licence": card.licence,
        "directions": {name: read(file).safe_range for name, file in shipped(card.name).items()},
        "missing": missing_files(card, path),
        "path": str(path),
    }


def _print(summary: dict[str, object]) -> None:
    ranges, missing = summary["directions"], summary["missing"]
    assert isinstance(ranges, dict)
    assert isinstance(missing, list)
    shown = (name if r is None else f"{name} {r[0]:g} to {r[1]:g}" for name, r in ranges.items())
    facts = {
        "directions": ", ".join(shown),
        "missing": ", ".join(missing),
        "licence": summary["licence"],
        "card": summary["path"],
    }
    title = f"{summary['name']}{' (default)' if summary['default'] else ''}: {summary['does']}"
    print_facts(title, facts)
