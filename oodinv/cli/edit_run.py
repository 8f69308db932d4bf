"""Steps of `oodinv edit`: find or make the inversion, edit it, report. Imports torch: import only in command bodies."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import typer

from oodinv import DEFAULT_MODEL
from oodinv.cli.console import say
from oodinv.cli.edit_request import Request
from oodinv.cli.edit_single import is_single, run_single
from oodinv.cli.edit_stages import editing, inverting
from oodinv.cli.engine import engine_for, plan_workers
from oodinv.cli.options import Chosen
from oodinv.cli.plan import show_plan
from oodinv.cli.prepare import choose_shard, shard_notes
from oodinv.cli.progress import Summary, conclude, follow, timed
from oodinv.errors import ManifestError, RecipeError
from oodinv.imaging.provenance import composite_mark
from oodinv.recipe.card import find_card
from oodinv.recipe.edit import EditRecipe, find_edit_recipe, read_edit_recipe
from oodinv.reporting.report import write_report
from oodinv.reporting.sheets import write_sheets
from oodinv.runs import manifest, runner
from oodinv.runs.collect import Collected, look_through
from oodinv.runs.ray_engine import Workers
from oodinv.runs.results import Results, is_inversion, last_inversion, open_results
from oodinv.runs.sharding import Shard
from oodinv.runs.sources.base import Job
from oodinv.weights.build import load_named
from oodinv.workflows.edit import EditStages, check_model, check_saved, edit_header, notes
from oodinv.workflows.invert import InvertStages, invert_header


@dataclass(frozen=True)
class _Run:
    """A request with its recipe, output folder, shard and Ray workers."""

    request: Request
    recipe: EditRecipe
    path: Path
    output: Path
    shard: Shard | None
    workers: Workers | None
    summary: Summary

    @property
    def local_device(self) -> str:
        """Device of this process: the CPU if Ray workers compute."""
        return self.request.compute.device if self.workers is None else "cpu"

    def stages(self, device: str, model: Any, inversion: Results, knows_people: bool = True) -> EditStages:
        """Builds the stages of the edit on a device. model: a loaded model, or its name."""
        build = editing(self.request, self.recipe, self.path)
        return build(device, model=model, inversion=inversion, knows_people=knows_people)


def run_edit(request: Request) -> None:
    """Runs `oodinv edit`.

    Raises:
        OodinvError: a problem that the user can solve. typer.Exit: with status 1 if a photo failed.
    """
    path = find_edit_recipe(request.recipe)
    recipe = _overridden(read_edit_recipe(path), request)
    if is_single(request.inputs, request.output):
        run_single(request, recipe, path)
        return
    shard = choose_shard(request.compute.shard, request.restart)
    inputs = _inputs(request, recipe, path)
    _check_inputs(inputs)
    output = _output(request, recipe, path, inputs)
    workers = plan_workers(request.compute, shard)
    run = _Run(request, recipe, path, output, shard, workers, Summary(output, shard_notes(shard)))
    if len(inputs) == 1 and is_inversion(inputs[0]):
        if request.select.chosen != Chosen():
            raise typer.BadParameter(f"faces can be chosen in photos only; {inputs[0]} is an inversion")
        inversion = open_results(inputs[0], ("invert",))
        check_saved(inversion)
        name = request.model or recipe.model or _card_of(inversion)
        model = load_named(name)
        check_model(model, inversion)
        stages = run.stages(run.local_device, model, inversion)
        photos, gone = inversion.jobs()
        run.summary.notes = (*run.summary.notes, *notes(inversion, gone))
    else:
        name = request.model or recipe.model or DEFAULT_MODEL
        stages, photos = _inverted(run, name, inputs)
    if request.dry_run:
        show_plan(
            Collected(photos, ()), output, edit_header(stages), restart=request.restart, as_json=request.messages.json
        )
        return
    if not request.restart:
        manifest.check_output(output, edit_header(stages))
    run.summary.notes = (*run.summary.notes, *stages.editor.model.notes)
    run.summary.warn(stages.editor.plan.warnings, request.messages.quiet)
    if request.preview:
        _preview(run, stages)
    else:
        _edit(run, stages, name, photos)
    conclude(run.summary, as_json=request.messages.json, quiet=request.messages.quiet)


def _overridden(recipe: EditRecipe, request: Request) -> EditRecipe:
    """Returns the recipe with fields overridden by options."""
    compose = recipe.compose.model_copy(update=request.compose)
    mask = recipe.mask if request.mask is None else request.mask
    refine = recipe.refine if request.refine is None else request.refine
    tune = recipe.tune if request.tune is None else request.tune
    return recipe.model_copy(update={"compose": compose, "mask": mask, "refine": refine, "tune": tune})


def _inputs(request: Request, recipe: EditRecipe, path: Path) -> list[Path]:
    """Returns the command's inputs, else the recipe's, else the last inversion; prints a message for the latter two."""
    if request.inputs:
        return request.inputs
    if recipe.inputs:
        say(f"using the inputs of {path}: {', '.join(recipe.inputs)}", request.messages.quiet)
        return [Path(name) for name in recipe.inputs]
    found = last_inversion(Path())
    if found is None:
        raise RecipeError(
            f"{path} names no inputs and there is no inversion here; pass photos, or an output folder of oodinv invert"
        )
    say(f"using the last inversion in this folder: {found}/", request.messages.quiet)
    return [found]


def _check_inputs(inputs: list[Path]) -> None:
    """Raises `ManifestError` for results of `edit`, or for an inversion among other inputs."""
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
        factors = request.factors
        name = f"{path.stem}" if factors == [1.0] else f"{path.stem}@{','.join(f'{factor:g}' for factor in factors)}"
        chosen = source.resolve().parent / f"{source.resolve().name}-{name}"
        chosen = chosen.relative_to(Path.cwd()) if chosen.is_relative_to(Path.cwd()) else chosen
        say(f"writing to {chosen}/", request.messages.quiet)
    place = chosen.resolve()
    within = [entry for entry in inputs if place.is_relative_to(entry.resolve())]
    if any(place == entry.resolve() or is_inversion(entry) for entry in within):
        raise ManifestError(f"{chosen} is an input or lies in one and would be replaced; choose another output folder")
    if not request.restart and (command := manifest.command_of(chosen)) not in (None, "edit"):
        raise ManifestError(f"{chosen} holds results of `oodinv {command}`; choose another output folder")
    return chosen


def _card_of(inversion: Results) -> str:
    """Returns the name of the shipped model that made an inversion.

    Raises:
        RecipeError: the model doesn't come with oodinv.
    """
    try:
        find_card(inversion.model)
    except RecipeError as error:
        raise RecipeError(
            f"{inversion.path} was made with the model {inversion.model}; pass its card as --model FILE.yaml"
        ) from error
    return inversion.model


def _inverted(run: _Run, name: str, inputs: list[Path]) -> tuple[EditStages, list[Job]]:
    """Inverts photos into OUT/inversion after checking the edit; returns the stages and jobs of the edit."""
    request, folder = run.request, run.output / "inversion"
    found = look_through(inputs, run.output, frames=request.select.all_frames)
    run.summary.notes = (*run.summary.notes, *found.notes)
    make_stages = inverting(request, run.recipe, name, frozenset({"latents", "flows"}))
    stages = make_stages(run.local_device)
    header = invert_header(stages, request.select.detector)
    _check_edit(run, stages, Results(folder, header, {}))
    if request.dry_run:
        show_plan(found, folder, header, restart=request.restart, as_json=request.messages.json)
        raise typer.Exit
    computing = engine_for(stages, make_stages, request.compute.device, run.workers)
    events = runner.run(
        computing,
        found.jobs,
        folder,
        header,
        chunk=request.compute.chunk,
        restart=request.restart,
        shard=run.shard,
    )
    made = follow(events, Summary(folder), "inverting", request.messages.quiet, stages.refiner)
    if run.shard is None:
        run.summary.take_failures(made)  # with shards, the edit reports the failures
    say(f"{made.done} inverted, {made.kept} done by an earlier run: {folder}/", request.messages.quiet)
    if made.done + made.kept == 0:
        conclude(run.summary, as_json=request.messages.json, quiet=request.messages.quiet)
        raise typer.Exit(1 if made.total else 0)
    results = open_results(folder, ("invert",))
    names = {job.name for job in found.jobs}
    inversion = Results(folder, results.header, {k: e for k, e in results.entries.items() if k in names})
    photos = found.jobs
    if run.shard is None:
        photos, _ = inversion.jobs()
    return run.stages(run.local_device, stages.model, inversion), photos


def _check_edit(run: _Run, stages: InvertStages, expected: Results) -> None:
    """Checks the edit before anything is inverted.

    Raises:
        OodinvError: the recipe doesn't fit the model, a strength is out of range, or the output holds other results.
    """
    if run.recipe.mix is not None or run.recipe.interpolate is not None:
        return  # people are looked up in the inversion
    edited = run.stages(run.local_device, stages.model, expected, knows_people=False)
    say("; ".join(f"range of {text}" for text in edited.editor.plan.ranges), run.request.messages.quiet)
    if not run.request.restart:
        manifest.check_output(run.output, edit_header(edited))


def _edit(run: _Run, stages: EditStages, name: str, photos: list[Job]) -> None:
    request, summary = run.request, run.summary
    computing = engine_for(
        stages, partial(run.stages, model=name, inversion=stages.inversion), request.compute.device, run.workers
    )
    events = runner.run(
        computing,
        photos,
        run.output,
        edit_header(stages),
        chunk=request.compute.chunk,
        restart=request.restart,
        shard=run.shard,
    )
    failed_before = summary.total
    follow(events, summary, "editing", request.messages.quiet, stages.editor.tuner)
    summary.total += failed_before
    if manifest.part_names(run.output):
        summary.notes = (*summary.notes, "the last shard to finish makes the contact sheet and the report")
    elif summary.done + summary.kept:
        with runner.alone_in(run.output):
            paths = write_report(open_results(run.output, ("edit",)))
        say(f"to look at: {', '.join(map(str, paths))}", request.messages.quiet)


def _preview(run: _Run, stages: EditStages) -> None:
    summary = run.summary
    photos, _ = stages.inversion.jobs()
    with runner.alone_in(run.output), timed(summary):
        paths = write_sheets(run.output, stages.preview(photos), composite_mark(stages.made))
    summary.done += len(photos)
    summary.total += len(photos)
    say(f"to look at: {', '.join(map(str, paths))}", run.request.messages.quiet)
