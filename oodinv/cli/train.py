"""`oodinv train`: trains a generator, an encoder or SAMM on a folder of face photos."""

import json as json_format
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from oodinv.cli import options
from oodinv.cli.console import stderr
from oodinv.cli.training_progress import (
    draw_reading,
    draw_training,
    report_unusable,
    resume_command,
    stopping_on_signals,
)
from oodinv.training.tasks import TASKS, TaskEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oodinv.recipe.train import TrainRecipe

RecipeOption = Annotated[str, typer.Option("--recipe", "-r", help="Name of a shipped training recipe, or a FILE.yaml.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for log, grids, checkpoint and model.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of photos, instead of the recipe's data.folder.")
]
GeneratorOption = Annotated[
    str | None, typer.Option("--generator", help="Card with the generator, instead of the recipe's.")
]
ModelOption = Annotated[str | None, typer.Option("--model", help="Card of the fixed model, instead of the recipe's.")]
InitOption = Annotated[
    str | None, typer.Option("--init", help="Model to start from, a name or a card; default: random weights.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the output folder.")]
TrainDtype = Literal["auto", "float32", "bfloat16"]
DtypeOption = Annotated[
    TrainDtype | None, typer.Option("--dtype", help="Number format, instead of the recipe's schedule.precision.")
]
BatchOption = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Images per step, instead of the recipe's schedule.batch.")
]
MissingOption = Annotated[
    bool, typer.Option("--allow-missing", help="Train without the losses whose networks are missing.")
]


def make_app(tasks: "Sequence[TaskEntry]" = TASKS) -> typer.Typer:
    """Builds `oodinv train` with one sub-command for each command that the tasks name."""
    app = typer.Typer(help="Train models on a folder of face photos.", no_args_is_help=True)
    for command in dict.fromkeys(task.command for task in tasks):
        entries = [task for task in tasks if task.command == command]
        trained = "; or ".join(task.summary for task in entries)
        text = (
            f"Train {trained}, as the recipe says.\n\n"
            "Writes a log (JSON lines), pictures of held-out faces, a checkpoint, and the model with its card. "
            "Ctrl-C stops after the current step and saves a checkpoint; --resume continues from there."
        )
        example = f"Example: oodinv train {command} --recipe {entries[0].example} --data photos/ -o runs/{command}"
        app.command(command, help=text, epilog=example)(_runner(command, tasks))
    return app


def _runner(command: str, tasks: "Sequence[TaskEntry]") -> Callable[..., None]:
    """Builds the function of one sub-command; typer reads its options from the signature."""

    def train(
        *,
        recipe: RecipeOption,
        output: OutputOption,
        data: DataOption = None,
        generator: GeneratorOption = None,
        model: ModelOption = None,
        init: InitOption = None,
        resume: ResumeOption = False,
        allow_missing: MissingOption = False,
        device: options.Device = "auto",
        dtype: DtypeOption = None,
        batch_size: BatchOption = None,
        restart: options.Restart = False,
        quiet: options.Quiet = False,
        json: options.Json = False,
    ) -> None:
        from oodinv.cli.prepare import choose_device
        from oodinv.training import loop, parallel, setup
        from oodinv.training.device import compute_for
        from oodinv.training.tasks import find_train_recipe

        if resume and restart:
            raise typer.BadParameter("--resume continues a run that --restart would remove; give one of them")
        settings, definition = find_train_recipe(recipe, command, data, tasks)
        settings = _with_schedule(settings, dtype, batch_size)
        missing = "allow" if allow_missing else None
        settings = _with_fields(settings, {"--generator": generator, "--model": model, "--allow-missing": missing})
        chosen = choose_device(device)
        with parallel.joined(chosen, settings.schedule.batch) as team:
            silent = quiet or not team.leads
            if restart and team.leads:
                loop.forget(output)
            parallel.wait(team)
            faces, flip = None, False
            if settings.data is not None:
                draw_reading(setup.prepare_faces(settings.data, output, team), silent)
                faces, flip = setup.open_faces(settings.data, output), settings.data.flip
                report_unusable(faces.unusable, len(faces.train) + len(faces.held_out), silent)
            task = definition.build(settings, init, compute_for(chosen, settings.schedule.precision, team))
            for note in () if silent else task.notes:
                stderr.print(f"[yellow]note:[/] {escape(note)}")
            workers = 2 if chosen.type == "cuda" else 0
            with stopping_on_signals(silent) as stop:
                events = loop.run(
                    task, faces, settings.schedule, flip, output, resume, team, stop=stop, workers=workers
                )
                summary = draw_training(events, silent)
        if json and team.leads:
            left_out = [{"input": photo.path, "error": photo.error} for photo in (faces.unusable if faces else ())]
            record = {"output": str(output), **summary.to_record(), "notes": list(task.notes), "left_out": left_out}
            typer.echo(json_format.dumps(record))
        if summary.stopped:
            if not silent:
                stderr.print(f"stopped after step {summary.step}; the checkpoint is saved. To continue:")
                stderr.print(f"  {escape(resume_command())}")
            raise typer.Exit(stop.status)

    return train


def _with_schedule(recipe: "TrainRecipe", dtype: TrainDtype | None, batch: int | None) -> "TrainRecipe":
    """Returns the recipe with its schedule overridden by options."""
    changes: dict[str, object] = {}
    if dtype is not None:
        changes["precision"] = dtype
    if batch is not None:
        changes["batch"] = batch
    return recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update=changes)})


FIELDS = {"--generator": "generator", "--model": "model", "--allow-missing": "missing"}
"""Options that replace a field of the recipe."""


def _with_fields(recipe: "TrainRecipe", values: dict[str, str | None]) -> "TrainRecipe":
    """Returns the recipe with fields overridden by options.

    Raises:
        RecipeError: the recipe has no such field.
    """
    from oodinv.errors import RecipeError

    given = {option: value for option, value in values.items() if value is not None}
    unknown = [option for option in given if FIELDS[option] not in type(recipe).model_fields]
    if unknown:
        raise RecipeError(f"recipe {recipe.name} is of kind {recipe.kind}, which has no {', '.join(unknown)}")
    return recipe.model_copy(update={FIELDS[option]: value for option, value in given.items()})


app = make_app()
