"""`oodinv directions`: lists, imports, fits and discovers directions of latent space."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodinv.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from oodinv.directions import Direction
    from oodinv.directions.faces import Face, Faces, Skipped
    from oodinv.directions.fit import Fitted
    from oodinv.directions.foreign import Target
    from oodinv.directions.labels import Labels
    from oodinv.directions.plan import FitRecipe, Source
    from oodinv.weights.build import Model

app = typer.Typer(help="List, import, fit and discover directions of latent space.", no_args_is_help=True)

ModelOption = Annotated[str, typer.Option("--model", help="Name of a model, or a card as FILE.yaml.")]
FolderOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the directions, one .safetensors each.")
]
LayersOption = Annotated[
    str | None, typer.Option("--layers", help="Rows of w_plus to change, such as 0-3,7; all without.")
]


class Method(StrEnum):
    """Ways to find directions without labels."""

    sefa = "sefa"
    ganspace = "ganspace"


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Numbers and ranges such as 0-3,7, in order, each once.

    Raises:
        typer.BadParameter: the text is something else.
    """
    numbers = set[int]()
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or len(part) > 12:
            raise typer.BadParameter(f"{text!r}: give numbers and ranges such as 0-3,7", param_hint=option)
        first, last = int(low), int(high if dash else low)
        if not first <= last <= first + 10_000:
            raise typer.BadParameter(f"{part.strip()!r} is no range", param_hint=option)
        numbers |= set(range(first, last + 1))
    return tuple(sorted(numbers))


def _layers(text: str | None, num_ws: int) -> tuple[int, ...] | None:
    if text is None:
        return None
    layers = parse_numbers(text, "--layers")
    if layers[-1] >= num_ws:
        raise typer.BadParameter(f"{text}: the model has layers 0 to {num_ws - 1}", param_hint="--layers")
    return layers


# --- list ------------------------------------------------------------------------------------------------


@app.command("list", epilog="Example: oodinv directions list --model mini")
def list_directions(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE...]", help="Direction files, in place of the shipped ones.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only those of this model.")] = None,
    as_json: options.Json = False,
) -> None:
    """List the directions that come with oodinv, or those in files: what a strength of 1 is, and the safe range."""
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
        typer.echo(json.dumps({"directions": [_summary(d, path) for path, d in chosen]}, indent=2))
        return
    for path, direction in chosen:
        typer.echo(_text(direction, path))


def _summary(direction: "Direction", path: Path) -> dict[str, object]:
    return {
        "name": direction.name,
        "model": direction.model,
        "attribute": direction.attribute,
        "description": direction.description,
        "unit": direction.unit,
        "safe_range": direction.safe_range,
        "layers": direction.layers,
        "method": direction.method,
        "shape": list(direction.vector.shape),
        "path": str(path),
    }


def _text(direction: "Direction", path: Path) -> str:
    low, high = direction.safe_range or (None, None)
    facts = {
        "what": direction.description,
        "strength 1": direction.unit,
        "safe range": "unknown" if low is None else f"{low} to {high}",
        "layers": "all" if direction.layers is None else ", ".join(map(str, direction.layers)),
        "method": direction.method,
        "file": str(path),
    }
    return "\n".join([f"{direction.model}/{direction.name}", *(f"    {k:<12}{v}" for k, v in facts.items() if v)])


# --- import ----------------------------------------------------------------------------------------------


@app.command("import", epilog="Example: oodinv directions import age.pt pca.pt --model ffhq-e4e -o directions/")
def import_directions(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of other projects.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Folder, or for one direction a .safetensors.")
    ],
    model: ModelOption = "mini",
    components: Annotated[
        str | None, typer.Option("--components", help="Which of a GANSpace file, such as 0-9; all without.")
    ] = None,
    layers: LayersOption = None,
    scale: Annotated[
        float, typer.Option("--scale", help="What a strength of 1 is, in the file's lengths; negative turns it round.")
    ] = 1.0,
    codes: Annotated[
        bool, typer.Option("--codes", help="The file holds codes of people: write OUT/latents/NAME.NNN.npz.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Turn directions of any form in circulation into files of oodinv. Nothing in a file is run.

    InterFaceGAN, encoder4editing, StyleFeatureEditor, GANSpace and plain arrays, for one row or for all, as .npy,
    .npz, .pt, .pkl or .safetensors. The sign is the file's.
    """
    from oodinv.cli.console import report_error
    from oodinv.directions.foreign import target_of
    from oodinv.errors import OodinvError
    from oodinv.recipe.card import find_card, read_card

    if scale == 0:
        raise typer.BadParameter("0 would move nothing", param_hint="--scale")
    card = find_card(model)
    target = target_of(read_card(card), card)
    chosen = None if components is None else parse_numbers(components, "--components")
    rows = _layers(layers, target.num_ws)
    results, failed = list[dict[str, object]](), False
    for file in files:
        try:
            if codes:
                results += _import_codes(file, output, target.num_ws, target.w_dim)
            else:
                results += _import_file(file, output, target, chosen, rows, scale)
        except OodinvError as error:
            failed = True
            report_error(error)
            results.append({"file": str(file), "error": str(error)})
    if as_json:
        typer.echo(json.dumps({"results": results}, indent=2))
    else:
        for result in results:
            if "path" in result:
                typer.echo(f"{result['path']}  {result.get('method', '')}")
    if failed:
        raise typer.Exit(1)


def _import_codes(file: Path, output: Path, num_ws: int, w_dim: int) -> list[dict[str, object]]:
    from oodinv.directions.foreign import read_codes
    from oodinv.image import write_npz

    results: list[dict[str, object]] = []
    for index, code in enumerate(read_codes(file, num_ws, w_dim)):
        path = output / "latents" / f"{file.stem}.{index:03d}.npz"
        write_npz(path, w_plus=code.numpy())
        results.append({"file": str(file), "path": str(path), "shape": [num_ws, w_dim]})
    return results


def _import_file(
    file: Path,
    output: Path,
    target: "Target",
    components: tuple[int, ...] | None,
    layers: tuple[int, ...] | None,
    scale: float,
) -> list[dict[str, object]]:
    from dataclasses import replace

    from oodinv.directions import write
    from oodinv.directions.foreign import import_file
    from oodinv.errors import RecipeError

    found = import_file(file, target, components)
    single = output.suffix == ".safetensors"
    if single and len(found) > 1:
        raise RecipeError(f"{file} holds {len(found)} directions; name a folder as --output")
    results: list[dict[str, object]] = []
    for direction in found:
        if layers is not None:
            direction = replace(direction, layers=layers)
        if scale != 1:
            direction = _scaled(direction, scale)
        if single:
            direction = replace(direction, name=output.stem)
        path = output if single else output / f"{direction.name}.safetensors"
        write(path, direction)
        results.append({"file": str(file), **_summary(direction, path)})
    return results


def _scaled(direction: "Direction", scale: float) -> "Direction":
    from dataclasses import replace

    bounds = direction.safe_range
    low, high = (None, None) if bounds is None else sorted(bound / scale for bound in bounds)
    return replace(
        direction,
        vector=direction.vector * scale,
        unit=f"{scale:g} times ({direction.unit})",
        safe_range=None if low is None or high is None else (low, high),
    )


# --- fit -------------------------------------------------------------------------------------------------


@app.command(
    "fit", epilog="Example: oodinv directions fit faces/ --names age_sex --attribute age --condition sex -o d/"
)
def fit_directions(
    output: FolderOption,
    faces: Annotated[
        Path | None, typer.Argument(metavar="[FACES]", help="Folder of photos, or what `oodinv invert` wrote.")
    ] = None,
    attribute: Annotated[str, typer.Option("--attribute", help="Label or measure to follow.")] = "",
    condition: Annotated[
        list[str] | None, typer.Option("--condition", help="Label or measure to hold fixed; repeat for more.")
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="CSV file with a column `file`.")] = None,
    names: Annotated[
        str | None, typer.Option("--names", help="What the parts of file names are, as in age_sex_ethnicity.")
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", help="Label whose numbers are only names; repeat for more.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the direction; its attribute's without.")] = None,
    layers: LayersOption = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Photos to use at most.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", "-r", help="Name of a shipped recipe, or a FILE.yaml, for several at once."),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="SOURCE=FOLDER for each source that the recipe has.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Name of a model, or a card; the recipe's, or mini, without.")
    ] = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Fit directions to labelled faces, conditioned against other labels, in calibrated units.

    Labels come from a CSV file, from file names, or from the faces themselves: yaw, turn, smile, hair, light and
    background are measured without an annotator, drawn_yaw, drawn_turn and drawn_smile on the pictures that the model
    draws of the faces. A tenth of the faces judges the fit. Codes are kept in the cache.

    [bold]Examples[/]

        oodinv directions fit out/ --attribute smile --condition turn -o directions/

        oodinv directions fit --recipe mini --data utk=UTKFace/ -o pretrained/directions/mini
    """
    settings, folders = _fit_settings(
        recipe, data, faces, attribute, condition, labels, names, category, name, layers, limit, model
    )
    import torch

    from oodinv.align import Yunet
    from oodinv.cli.prepare import choose_device
    from oodinv.directions import drawn, write
    from oodinv.directions import labels as tables
    from oodinv.directions.calibrate import calibrated
    from oodinv.directions.fit import Fitted, fit, told_by
    from oodinv.weights.build import load_named
    from oodinv.weights.pull import pull

    loaded = load_named(settings.model).to(choose_device(device))
    results: list[dict[str, object]] = []
    earlier: list[Fitted] = []
    for key, source in settings.sources.items():
        found = _faces(loaded, folders[key], source.limit, quiet)
        table = tables.join(_labels(source, found.files), found.measures)
        own = [wanted for wanted in settings.directions if wanted.source == key]
        detector = Yunet(pull("yunet"), quick=True) if any(w.looks_at(drawn.NAMES) for w in own) else None
        if detector is not None:
            table = tables.join(table, drawn.measured(loaded, torch.from_numpy(found.w_plus), detector))
        table = tables.join(table, *(told_by(fitted, found) for fitted in earlier))
        for wanted in own:
            fitted = fit(found, table, wanted, source.categories, loaded.card.name)
            table = tables.join(table, told_by(fitted, found))
            earlier.append(fitted)
            fitted = calibrated(fitted, loaded, found.w_plus, detector)
            path = output / f"{wanted.name}.safetensors"
            write(path, fitted.direction)
            results.append(_fit_summary(fitted, path))
            if not quiet:
                _print_fit(results[-1])
    if as_json:
        typer.echo(json.dumps({"directions": results}, indent=2))


def _fit_settings(
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
    """The recipe, shipped or made of the options, and the folder of each of its sources."""
    from oodinv.directions.plan import find_fit_recipe, plan_of

    if recipe is not None:
        if faces is not None or attribute or labels or names:
            raise typer.BadParameter("a recipe says what to fit; give folders as --data SOURCE=FOLDER")
        settings = find_fit_recipe(recipe)
        folders = dict(_pair(text) for text in data or [])
        if set(folders) != set(settings.sources):
            needed = " ".join(f"--data {key}=FOLDER" for key in settings.sources)
            raise typer.BadParameter(f"the recipe needs {needed}", param_hint="--data")
        if limit is not None:
            sources = {key: source.model_copy(update={"limit": limit}) for key, source in settings.sources.items()}
            settings = settings.model_copy(update={"sources": sources})
        return (settings if model is None else settings.model_copy(update={"model": model})), folders
    if faces is None or not attribute:
        raise typer.BadParameter("name FACES and --attribute, or a --recipe")
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
    return plan_of(model or "mini", source, wanted), {"faces": faces}


def _pair(text: str) -> tuple[str, Path]:
    key, equals, folder = text.partition("=")
    if not equals or not folder:
        raise typer.BadParameter(f"{text!r}: write SOURCE=FOLDER", param_hint="--data")
    return key, Path(folder)


def _labels(source: "Source", files: tuple[str, ...]) -> "Labels":
    from oodinv.directions import labels as tables

    found: list[tables.Labels] = []
    if source.labels is not None:
        found.append(tables.from_csv(Path(source.labels), files))
    if source.names is not None:
        found.append(tables.from_names(source.names, files))
    return tables.join(*found)


def _faces(model: "Model", folder: Path, limit: int | None, quiet: bool) -> "Faces":
    """Faces of a folder, from the cache where they have been encoded before."""
    from oodinv.directions import faces as encoded
    from oodinv.inputs import collect
    from oodinv.weights.pull import cache_dir

    if encoded.is_inverted(folder):
        return encoded.gather(_follow(encoded.read_inverted(model, folder), None, folder, quiet))
    jobs = encoded.sample(collect([folder], folder / ".none"), limit)
    path = cache_dir() / "faces" / f"{encoded.cache_key(model, jobs)}.npz"
    if (known := encoded.recall(path)) is not None:
        return known
    from oodinv.align import Yunet
    from oodinv.weights.pull import pull

    stream = encoded.encode_photos(model, jobs, Yunet(pull("yunet"), quick=True))
    found = encoded.gather(_follow(stream, len(jobs), folder, quiet))
    encoded.store(path, found)
    return found


def _follow(stream: "Iterator[Face | Skipped]", total: int | None, folder: Path, quiet: bool) -> "Iterator[Face]":
    """Draws progress, and says at the end how many files gave no face."""
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from oodinv.cli.console import stderr
    from oodinv.directions.faces import Face

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    skipped = 0
    with Progress(*columns, console=stderr, disable=quiet) as progress:
        bar = progress.add_task(f"encoding {escape(str(folder))}", total=total)
        for item in stream:
            progress.advance(bar)
            if isinstance(item, Face):
                yield item
            else:
                skipped += 1
    if skipped and not quiet:
        stderr.print(f"{escape(str(folder))}: {skipped} files gave no face and were left out")


def _fit_summary(fitted: "Fitted", path: Path) -> dict[str, object]:
    return {
        **_summary(fitted.direction, path),
        "faces": fitted.faces,
        "held_out": fitted.held_out,
        "measure": fitted.measure,
        "quality": round(fitted.quality, 4),
    }


def _print_fit(summary: dict[str, object]) -> None:
    from rich.markup import escape

    from oodinv.cli.console import stderr

    stderr.print(
        f"{summary['name']}: {summary['measure']} {summary['quality']} on {summary['held_out']} held-out faces, "
        f"1 = {summary['unit']}, safe range {summary['safe_range']}  {escape(str(summary['path']))}"
    )


# --- discover --------------------------------------------------------------------------------------------


@app.command("discover", epilog="Example: oodinv directions discover sefa --layers 0-3 -o directions/")
def discover_directions(
    method: Annotated[Method, typer.Argument(metavar="METHOD", help="sefa (closed form) or ganspace (PCA).")],
    output: FolderOption,
    faces: Annotated[
        Path | None, typer.Option("--faces", help="Photos or an `invert` output; needed where w isn't mapped from z.")
    ] = None,
    model: ModelOption = "mini",
    layers: LayersOption = None,
    count: Annotated[int, typer.Option("--count", min=1, max=99, help="How many directions.")] = 10,
    samples: Annotated[int, typer.Option("--samples", min=100, help="Random z to map.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random z.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Photos to use at most.")] = 2000,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Find directions without labels. What they mean is yours to see and to name.

    sefa: the directions that change the styles of the chosen layers most. ganspace: principal components of the
    generator's mapped w, or with --faces of encoded faces.

    [bold]Examples[/]

        oodinv directions discover sefa --layers 0-3 -o directions/

        oodinv directions discover ganspace --faces out/ -o directions/
    """
    import torch

    from oodinv.cli.prepare import choose_device
    from oodinv.directions.discover import ganspace, map_samples, sefa
    from oodinv.errors import RecipeError
    from oodinv.weights.build import load_named

    loaded = load_named(model).to(choose_device(device))
    generator = loaded.generator
    rows = _layers(layers, generator.num_ws)
    mapped = None if faces is not None else map_samples(generator, samples, seed)
    encoded = None if faces is None else torch.from_numpy(_faces(loaded, faces, limit, quiet).w_plus)
    if method is Method.sefa:
        places = mapped[:, None].expand(-1, generator.num_ws, -1) if mapped is not None else encoded
        found = sefa(generator, loaded.card.name, rows, count, places)
    else:
        codes = encoded if mapped is None else mapped
        if codes is None:
            raise RecipeError(f"{loaded.card.name} has no mapping network to sample; name faces with --faces FOLDER")
        found = ganspace(codes.double().numpy(), loaded.card.name, rows, generator.num_ws, count)
    _write_all(found, output, as_json, quiet)


def _write_all(found: "Sequence[Direction]", output: Path, as_json: bool, quiet: bool) -> None:
    from oodinv.directions import write

    results = []
    for direction in found:
        path = output / f"{direction.name}.safetensors"
        write(path, direction)
        results.append(_summary(direction, path))
    if as_json:
        typer.echo(json.dumps({"directions": results}, indent=2))
    elif not quiet:
        for result in results:
            typer.echo(f"{result['path']}  {result['method']}")
