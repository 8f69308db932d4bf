"""`oodinv models`: lists the models whose cards come with oodinv."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodinv.cli import options

if TYPE_CHECKING:
    from oodinv.recipe.card import GeneratorOnlyCard

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
        typer.echo(_text(summary))
    if not found:
        typer.echo(f"no model matches {word!r}", err=True)


def _summary(path: Path) -> dict[str, object]:
    from oodinv import DEFAULT_MODEL
    from oodinv.directions import read, shipped
    from oodinv.recipe.base import read_yaml
    from oodinv.recipe.card import GeneratorOnlyCard

    card: GeneratorOnlyCard = read_yaml(path, GeneratorOnlyCard)
    return {
        "name": card.name,
        "default": card.name == DEFAULT_MODEL,
        "does": card.description,
        "size": card.size,
        "licence": card.licence,
        "directions": {name: read(file).safe_range for name, file in shipped(card.name).items()},
        "missing": _missing(card, path),
        "path": str(path),
    }


def _missing(card: "GeneratorOnlyCard", path: Path) -> list[str]:
    """Weight files of a card that are neither beside it nor in the cache; nothing is downloaded."""
    from oodinv.weights.catalog import ROWS
    from oodinv.weights.pull import cache_dir, find

    def is_here(weights: str) -> bool:
        known = any(find(row.name) is not None for row in ROWS if weights in (row.name, row.file))
        return known or (path.parent / weights).exists() or (cache_dir() / weights).exists()

    parts = (card.generator, card.encoder, card.samm, card.preview)
    return [weights for weights in dict.fromkeys(p.weights for p in parts if p is not None) if not is_here(weights)]


def _text(summary: dict[str, object]) -> str:
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
    return "\n".join([title, *(f"    {k:<12}{v}" for k, v in facts.items() if v)])
