"""`oodinv directions fit`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodinv import DEFAULT_MODEL
from oodinv.cli import options
from oodinv.cli.directions.common import FolderOption, LayersOption, faces_of, parse_numbers, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oodinv.directions import Direction
    from oodinv.directions.fit import Fitted
    from oodinv.directions.labels import Labels
    from oodinv.recipe.directions import FaceSource, FitRecipe
    from oodinv.weights.build import Model


def fit_directions(
    *,
    output: FolderOption,
    faces: Annotated[
        Path | None, typer.Argument(metavar="[FACES]", help="Folder of photos, or an output folder of `oodinv invert`.")
    ] = None,
    attribute: Annotated[str, typer.Option("--attribute", help="Label or measure to fit.")] = "",
    condition: Annotated[
        list[str] | None,
        typer.Option("--condition", help="Label or measure to keep fixed; may be given several times."),
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="CSV file with a column `file`.")] = None,
    names: Annotated[
        str | None, typer.Option("--names", help="Labels encoded in file names, such as age_sex_ethnicity.")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", help="Label to treat as categorical; may be given several times.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the direction; default: its attribute.")] = None,
    layers: LayersOption = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Maximum number of photos.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", "-r", help="Recipe that fits several directions: a name or FILE.yaml."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="SOURCE=FOLDER for each source of the recipe, and published=FOLDER."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Name of a model, or a card; default: the recipe's, or ffhq-mobile.")
    ] = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Fit directions to labelled faces, conditioned against other labels, in calibrated units.

    Labels come from a CSV file, from file names, or from the faces themselves: yaw, turn, pitch, smile, hair,
    forehead, light and background are measured on the photos; drawn_yaw, drawn_turn, drawn_pitch and drawn_smile on
    the generated pictures. A tenth of the faces is held out to evaluate the fit. Codes are cached.

    [bold]Examples[/]

        oodinv directions fit out/ --attribute smile --condition turn -o directions/

        oodinv directions fit --recipe ffhq-mobile --data utk=UTKFace/ --data celebahq=CelebA-HQ/ -o d/
    """
    settings, folders = _fit_settings(
        recipe=recipe,
        data=data,
        faces=faces,
        attribute=attribute,
        condition=condition,
        labels=labels,
        names=names,
        category=category,
        name=name,
        layers=layers,
        limit=limit,
        model=model,
    )
    from oodinv.cli.prepare import choose_device
    from oodinv.directions import write
    from oodinv.weights.build import load_named

    loaded = load_named(settings.model).to(choose_device(device))
    results: list[dict[str, object]] = []
    for direction, facts in _fit_all(loaded, settings, folders, quiet):
        path = output / f"{direction.name}.safetensors"
        write(path, direction)
        results.append(summary(direction, path) | facts)
        if not quiet:
            _print_fit(results[-1])
    if as_json:
        typer.echo(json.dumps({"directions": results}, indent=2))


def _fit_all(
    model: "Model", settings: "FitRecipe", folders: dict[str, Path], quiet: bool
) -> "Iterator[tuple[Direction, dict[str, object]]]":
    """Yields the recipe's directions with facts about their fit: by source, then those of published files.

    A fit may be conditioned on the scores of earlier ones.
    """
    import torch

    from oodinv.directions import generated
    from oodinv.directions import labels as tables
    from oodinv.directions.calibrate import calibrate
    from oodinv.directions.files import scaled
    from oodinv.directions.fit import fit, score_labels
    from oodinv.directions.foreign import ModelShape
    from oodinv.directions.published import take, without
    from oodinv.faces.detectors.yunet import Yunet
    from oodinv.recipe.directions import PUBLISHED
    from oodinv.weights.pull import pull

    earlier: list[Fitted] = []
    known: dict[str, Direction] = {}
    for key, source in settings.sources.items():
        found = faces_of(model, folders[key], source.limit, quiet)
        table = tables.join(_labels(source, found.files), found.measures)
        own = [wanted for wanted in settings.directions if wanted.source == key]
        detector = Yunet(pull("yunet"), quick=True) if any(w.uses_any(generated.NAMES) for w in own) else None
        if detector is not None:
            table = tables.join(table, generated.measured(model, torch.from_numpy(found.w_plus), detector))
        table = tables.join(table, *(score_labels(fitted, found) for fitted in earlier))
        for wanted in own:
            fitted = fit(found, table, wanted, source.categories, model.card.name)
            table = tables.join(table, score_labels(fitted, found))
            earlier.append(fitted)
            if wanted.score_only:
                continue
            fitted = calibrate(fitted, model, found.w_plus, detector)
            direction = fitted.direction if wanted.scale == 1 else scaled(fitted.direction, wanted.scale)
            if wanted.safe_range is not None:
                direction = replace(direction, safe_range=wanted.safe_range)
            direction = without(direction, wanted, known)
            known[direction.name] = direction
            yield direction, _facts(fitted)
    for wanted in settings.directions:
        if wanted.published is not None:
            shape = ModelShape(model.card.name, *model.code_shape, type(model.generator).spare_rows)
            known[wanted.name] = take(folders[PUBLISHED], wanted, shape, known)
            yield known[wanted.name], {}


def _fit_settings(
    *,
    recipe: str | None,
    data: list[str] | None,
    faces: Path | None,
    attribute: str,
    condition: list[str] | None,
    labels: Path | None,
    names: str | None,
    category: list[str] | None,
    name: str | None,
    layers: str | None,
    limit: int | None,
    model: str | None,
) -> "tuple[FitRecipe, dict[str, Path]]":
    """Returns the recipe, found by name or built from options, and the folder of each of its sources."""
    from oodinv.recipe.directions import find_fit_recipe, single_direction_recipe

    if recipe is not None:
        if faces is not None or attribute or labels or names:
            raise typer.BadParameter("--recipe already defines what to fit; pass folders as --data SOURCE=FOLDER")
        settings = find_fit_recipe(recipe)
        folders = dict(_pair(text) for text in data or [])
        if set(folders) != set(settings.folders):
            needed = " ".join(f"--data {key}=FOLDER" for key in settings.folders)
            raise typer.BadParameter(f"the recipe needs {needed}", param_hint="--data")
        if limit is not None:
            sources = {key: source.model_copy(update={"limit": limit}) for key, source in settings.sources.items()}
            settings = settings.model_copy(update={"sources": sources})
        return (settings if model is None else settings.model_copy(update={"model": model})), folders
    if faces is None or not attribute:
        raise typer.BadParameter("pass FACES and --attribute, or --recipe")
    source = {
        "labels": None if labels is None else str(labels),
        "names": names,
        "categories": category or [],
        "limit": limit,
    }
    wanted = {
        "name": name or attribute,
        "source": "faces",
        "attribute": attribute,
        "conditions": condition or [],
        "layers": None if layers is None else list(parse_numbers(layers, "--layers")),
    }
    return single_direction_recipe(model or DEFAULT_MODEL, source, wanted), {"faces": faces}


def _pair(text: str) -> tuple[str, Path]:
    key, equals, folder = text.partition("=")
    if not equals or not folder:
        raise typer.BadParameter(f"{text!r}: write SOURCE=FOLDER", param_hint="--data")
    return key, Path(folder)


def _labels(source: "FaceSource", files: tuple[str, ...]) -> "Labels":
    from oodinv.directions import labels as tables

    found: list[tables.Labels] = []
    if source.labels is not None:
        found.append(tables.from_csv(Path(source.labels), files))
    if source.names is not None:
        found.append(tables.from_names(source.names, files))
    return tables.join(*found)


def _facts(fitted: "Fitted") -> dict[str, object]:
    return {
        "faces": fitted.faces,
        "held_out": fitted.held_out,
        "measure": fitted.measure,
        "quality": round(fitted.quality, 4),
    }


def _print_fit(summary: dict[str, object]) -> None:
    from rich.markup import escape

    from oodinv.cli.console import stderr

    is_fit = "quality" in summary
    quality = f"{summary['measure']} {summary['quality']} on {summary['held_out']} held-out faces, " if is_fit else ""
    stderr.print(
        f"{summary['name']}: {quality}1 = {summary['unit']}, safe range {summary['safe_range']}  "
        f"{escape(str(summary['path']))}"
    )
