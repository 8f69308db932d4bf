"""The steps of `oodinv edit`: find the inversion or make it, edit it, report. Imports torch: for its body only."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import typer

from oodinv.cli.console import say
from oodinv.cli.prepare import choose_device, make_detector
from oodinv.cli.progress import Summary, conclude, follow, timed
from oodinv.editing.apply import Editor
from oodinv.editing.plan import prepare
from oodinv.errors import ManifestError, RecipeError
from oodinv.imaging.provenance import composite_mark
from oodinv.inversion import Dtype
from oodinv.recipe.card import find_card
from oodinv.recipe.edit import EditRecipe, find_edit_recipe, read_edit_recipe
from oodinv.reporting.report import write_report
from oodinv.reporting.sheets import write_sheets
from oodinv.runs import manifest
from oodinv.runs.collect import look_through
from oodinv.runs.results import Results, is_inversion, last_inversion, open_results, read_person
from oodinv.runs.runner import alone_in, run
from oodinv.weights.build import Model, load_named
from oodinv.workflows.edit import EditStages, check_model, edit_header, notes
from oodinv.workflows.invert import InvertStages, invert_header


@dataclass(frozen=True)
class Request:
    """The options of `oodinv edit`, checked one by one."""

    inputs: list[Path]
    recipe: str
    output: Path | None
    factors: list[float]
    model: str | None
    mask: Literal["unedited", "edited"] | None
    compose: dict[str, Any]
    preview: bool
    aligned: bool
    detector: str
    device: str
    dtype: Dtype
    batch_size: int
    restart: bool
    quiet: bool
    json: bool


def run_edit(request: Request) -> None:
    """Runs `oodinv edit`.

    Raises:
        OodinvError: something that the user can mend. typer.Exit: with status 1 if a photo failed.
    """
    path = find_edit_recipe(request.recipe)
    recipe = _overridden(read_edit_recipe(path), request)
    inputs = _inputs(request, recipe, path)
    _check_inputs(inputs)
    output = _output(request, recipe, path, inputs)
    summary = Summary(output)
    if len(inputs) == 1 and is_inversion(inputs[0]):
        inversion = open_results(inputs[0], ("invert",))
        model = _load(request.model or recipe.model or _card_of(inversion), request)
    else:
        model = _load(request.model or recipe.model or "mini", request)
        inversion = _invert(request, model, inputs, output / "inversion", summary)
    check_model(model, inversion)
    edits = prepare(recipe, path, model, request.factors, partial(read_person, inversion, model.code_shape))
    noise: Literal["fixed", "zero"] = "zero" if inversion.header.settings.get("noise") == "zero" else "fixed"
    device = choose_device(request.device)
    editor = Editor(model, device, request.dtype, noise, request.batch_size, recipe, edits)
    stages = EditStages(editor, inversion)
    summary.notes = (*summary.notes, *model.notes)
    summary.warn(edits.warnings, request.quiet)
    if request.preview:
        _preview(request, stages, summary)
    else:
        _edit(request, stages, summary)
    conclude(summary, as_json=request.json, quiet=request.quiet)


def _overridden(recipe: EditRecipe, request: Request) -> EditRecipe:
    """The recipe with what options say in its place."""
    compose = recipe.compose.model_copy(update=request.compose)
    mask = recipe.mask if request.mask is None else request.mask
    return recipe.model_copy(update={"compose": compose, "mask": mask})


def _inputs(request: Request, recipe: EditRecipe, path: Path) -> list[Path]:
    """What to work on: the command's inputs, the recipe's, or the last inversion; says which of the latter two."""
    if request.inputs:
        return request.inputs
    if recipe.inputs:
        say(f"working on {', '.join(recipe.inputs)}, as {path} says", request.quiet)
        return [Path(name) for name in recipe.inputs]
    found = last_inversion(Path())
    if found is None:
        raise RecipeError(
            f"{path} names no inputs and there is no inversion here; pass photos, or an output folder of oodinv invert"
        )
    say(f"working on {found}/, the last inversion here", request.quiet)
    return [found]


def _check_inputs(inputs: list[Path]) -> None:
    """Raises `ManifestError` for results among photos; an inversion stands alone."""
    for entry in inputs:
        command = manifest.command_of(entry)
        if command == "edit" or (command == "invert" and len(inputs) > 1):
            raise ManifestError(
                f"{entry} was written by `oodinv {command}` and holds no photos; name photos, or one output folder of "
                "`oodinv invert` alone"
            )


def _output(request: Request, recipe: EditRecipe, path: Path, inputs: list[Path]) -> Path:
    chosen = request.output or (None if recipe.output is None else Path(recipe.output))
    if chosen is None:
        source = inputs[0] if len(inputs) == 1 and is_inversion(inputs[0]) else Path("out")
        chosen = source.resolve().parent / f"{source.resolve().name}-{path.stem}"
        chosen = chosen.relative_to(Path.cwd()) if chosen.is_relative_to(Path.cwd()) else chosen
        say(f"writing to {chosen}/", request.quiet)
    place = chosen.resolve()
    within = [entry for entry in inputs if place.is_relative_to(entry.resolve())]
    if any(place == entry.resolve() or is_inversion(entry) for entry in within):
        raise ManifestError(f"{chosen} is the input or in it and would be replaced; choose another output folder")
    return chosen


def _card_of(inversion: Results) -> str:
    """The model that an inversion was made with, if it is one that comes with oodinv."""
    try:
        find_card(inversion.model)
    except RecipeError as error:
        raise RecipeError(
            f"{inversion.path} was made with the model {inversion.model}; pass its card as --model FILE.yaml"
        ) from error
    return inversion.model


def _load(name: str, request: Request) -> Model:
    return load_named(name).to(choose_device(request.device))


def _invert(request: Request, model: Model, inputs: list[Path], folder: Path, summary: Summary) -> Results:
    """Inverts photos into a folder of their own, or takes up what is there; failures go into the summary."""
    device = choose_device(request.device)
    stages = InvertStages(
        model=model,
        device=device,
        dtype=request.dtype,
        detector=None if request.aligned else make_detector(request.detector, device),
        noise="fixed",
        batch_size=request.batch_size,
        save=frozenset({"latents", "flows"}),
    )
    found = look_through(inputs, folder.parent)
    summary.notes = (*summary.notes, *found.notes)
    header = invert_header(stages, request.detector)
    events = run(stages, found.jobs, folder, header, chunk=request.batch_size, restart=request.restart)
    made = follow(events, Summary(folder), "inverting", request.quiet)
    summary.failures += made.failures
    summary.unsupported += made.unsupported
    summary.total += len(made.failures) + len(made.unsupported)
    say(f"{made.done} inverted, {made.kept} kept from an earlier run: {folder}/", request.quiet)
    if made.done + made.kept == 0:
        conclude(summary, as_json=request.json, quiet=request.quiet)
        raise typer.Exit(1)
    results = open_results(folder, ("invert",))
    names = {photo.name for photo in found.jobs}
    return Results(folder, results.header, {k: e for k, e in results.entries.items() if k in names})


def _edit(request: Request, stages: EditStages, summary: Summary) -> None:
    photos, gone = stages.inversion.jobs()
    summary.notes = (*summary.notes, *notes(stages.inversion, gone))
    events = run(stages, photos, summary.output, edit_header(stages), chunk=request.batch_size, restart=request.restart)
    failed_before = summary.total
    follow(events, summary, "editing", request.quiet)
    summary.total += failed_before
    if summary.done + summary.kept:
        with alone_in(summary.output):
            paths = write_report(open_results(summary.output, ("edit",)))
        say(f"to look at: {', '.join(map(str, paths))}", request.quiet)


def _preview(request: Request, stages: EditStages, summary: Summary) -> None:
    photos, _ = stages.inversion.jobs()
    if not request.restart and (found := manifest.read(summary.output)) is not None:
        manifest.refuse_other(summary.output, found[0], edit_header(stages))
    with alone_in(summary.output), timed(summary):
        paths = write_sheets(summary.output, stages.preview(photos), composite_mark(stages.made))
    summary.done += len(photos)
    summary.total += len(photos)
    say(f"to look at: {', '.join(map(str, paths))}", request.quiet)
