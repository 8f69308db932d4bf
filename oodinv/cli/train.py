"""`oodinv train`: makes a generator, an encoder or SAMM from a folder of face photos."""

import json as json_format
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from oodinv.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oodinv.recipe.train import AnyTrainRecipe, EncoderRecipe, GeneratorRecipe, JointRecipe, SammRecipe
    from oodinv.training.device import Compute
    from oodinv.training.loop import Event, Task

R = TypeVar("R", "JointRecipe | GeneratorRecipe", "EncoderRecipe", "SammRecipe")
F = TypeVar("F", "EncoderRecipe", "SammRecipe")

app = typer.Typer(help="Train models from a folder of face photos.", no_args_is_help=True)


class TrainDtype(StrEnum):
    """Number format of training; float16, which would need loss scaling, is not among them."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


RecipeOption = Annotated[str, typer.Option("--recipe", "-r", help="Name of a shipped training recipe, or a FILE.yaml.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for log, grids, checkpoint and model.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of photos, in place of the recipe's data.folder.")
]
InitOption = Annotated[
    str | None, typer.Option("--init", help="Model to go on from, a name or a card, in place of random weights.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")]
DtypeOption = Annotated[
    TrainDtype | None, typer.Option("--dtype", help="Number format, in place of the recipe's schedule.precision.")
]
BatchOption = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Images a step, in place of the recipe's schedule.batch.")
]
MissingOption = Annotated[
    bool, typer.Option("--allow-missing", help="Train without the losses whose networks are missing.")
]


@app.command("generator", epilog="Example: oodinv train generator --recipe mini-joint --data photos/ -o runs/mini")
def generator(
    *,
    recipe: RecipeOption,
    output: OutputOption,
    data: DataOption = None,
    init: InitOption = None,
    resume: ResumeOption = False,
    device: options.Device = "auto",
    dtype: DtypeOption = None,
    batch_size: BatchOption = None,
    restart: options.Restart = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a generator: kind `stylegan2` from photos alone, kind `joint` together with a pyramid encoder.

    Writes a log (JSON lines), picture grids of held-out faces, a checkpoint, and the model with its card. A
    generator alone needs an encoder before `invert` takes it: `oodinv train encoder`.
    """
    from oodinv.recipe.train import GeneratorRecipe, JointRecipe, find_train_recipe

    settings = find_train_recipe(recipe, data)
    if not isinstance(settings, JointRecipe | GeneratorRecipe):
        raise _other_kind(recipe, settings)
    settings = _with_schedule(settings, dtype, batch_size)
    task = partial(_generator_task, settings, init)
    _train(settings, task, output, device, resume=resume, restart=restart, quiet=quiet, json=json)


@app.command("encoder", epilog="Example: oodinv train encoder --recipe ffhq-e4e-encoder --data ffhq/ -o runs/e4e")
def encoder(
    *,
    recipe: RecipeOption,
    output: OutputOption,
    data: DataOption = None,
    generator: Annotated[
        str | None, typer.Option("--generator", help="Card whose generator to use, in place of the recipe's.")
    ] = None,
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
    """Train an encoder for a fixed generator: e4e, ReStyle, Feature-Style or the small pyramid.

    Writes a log (JSON lines), picture grids of held-out faces, a checkpoint, and the encoder with a card that
    joins it to the generator.
    """
    from oodinv.recipe.train import EncoderRecipe, find_train_recipe

    settings = find_train_recipe(recipe, data)
    if not isinstance(settings, EncoderRecipe):
        raise _other_kind(recipe, settings)
    settings = _with_schedule(settings, dtype, batch_size)
    settings = _with_changes(settings, allow_missing, generator=generator)
    task = partial(_encoder_task, settings, init)
    _train(settings, task, output, device, resume=resume, restart=restart, quiet=quiet, json=json)


@app.command("samm", epilog="Example: oodinv train samm --recipe mini-samm --data photos/ -o runs/mini-samm")
def samm(
    *,
    recipe: RecipeOption,
    output: OutputOption,
    data: DataOption = None,
    model: Annotated[str | None, typer.Option("--model", help="Card in place of the recipe's model.")] = None,
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
    """Train SAMM with the encoder and the generator of a model fixed.

    Writes a log (JSON lines), picture grids of held-out faces, a checkpoint, and SAMM with a card that joins
    it to the model.
    """
    from oodinv.recipe.train import SammRecipe, find_train_recipe

    settings = find_train_recipe(recipe, data)
    if not isinstance(settings, SammRecipe):
        raise _other_kind(recipe, settings)
    settings = _with_schedule(settings, dtype, batch_size)
    settings = _with_changes(settings, allow_missing, model=model)
    task = partial(_samm_task, settings, init)
    _train(settings, task, output, device, resume=resume, restart=restart, quiet=quiet, json=json)


def _other_kind(name: str, recipe: "AnyTrainRecipe") -> Exception:
    from oodinv.errors import RecipeError

    command = {"joint": "generator", "stylegan2": "generator"}.get(recipe.kind, recipe.kind)
    return RecipeError(f"{name} is a recipe of kind {recipe.kind}; use `oodinv train {command}`")


def _with_schedule(recipe: R, dtype: TrainDtype | None, batch: int | None) -> R:
    """The recipe with what the command line says of its schedule."""
    changes: dict[str, object] = {}
    if dtype is not None:
        changes["precision"] = dtype.value
    if batch is not None:
        changes["batch"] = batch
    schedule = recipe.schedule.model_copy(update=changes)
    return recipe.model_copy(update={"schedule": schedule})


def _with_changes(recipe: F, allow_missing: bool, **cards: str | None) -> F:
    """The recipe with the cards that the command line names, and with its leave to train without some losses."""
    changes: dict[str, object] = {key: card for key, card in cards.items() if card}
    if allow_missing:
        changes["missing"] = "allow"
    return recipe.model_copy(update=changes)


def _generator_task(recipe: "JointRecipe | GeneratorRecipe", init: str | None, compute: "Compute") -> "Task":
    from oodinv.recipe.train import GeneratorRecipe
    from oodinv.training import setup
    from oodinv.training.generator import GeneratorTask
    from oodinv.training.joint import JointTask
    from oodinv.weights.build import load_named

    if isinstance(recipe, GeneratorRecipe):
        return GeneratorTask(recipe, compute, None if init is None else setup.fixed_generator(init))
    return JointTask(recipe, setup.lpips(), compute, None if init is None else load_named(init))


def _encoder_task(recipe: "EncoderRecipe", init: str | None, compute: "Compute") -> "Task":
    from oodinv.training import setup
    from oodinv.training.encoder import EncoderTask
    from oodinv.weights.build import load_named

    start = None if init is None else load_named(init)
    backbone = None if recipe.backbone is None else setup.recognition_backbone(recipe.backbone, recipe.name)
    judges = setup.encoder_judges(recipe)
    return EncoderTask(recipe, setup.fixed_generator(recipe.generator), judges, compute, start, backbone)


def _samm_task(recipe: "SammRecipe", init: str | None, compute: "Compute") -> "Task":
    from oodinv.training import setup
    from oodinv.training.samm import SammTask
    from oodinv.weights.build import load_named

    start = None if init is None else load_named(init)
    return SammTask(recipe, load_named(recipe.model), setup.samm_judges(recipe), compute, start)


def _train(
    recipe: "AnyTrainRecipe",
    make_task: "Callable[[Compute], Task]",
    output: Path,
    device: str,
    *,
    resume: bool,
    restart: bool,
    quiet: bool,
    json: bool,
) -> None:
    from oodinv.cli.prepare import choose_device
    from oodinv.training import loop, parallel, setup
    from oodinv.training.device import compute_for

    if resume and restart:
        raise typer.BadParameter("--resume goes on with a run that --restart would remove; give one of them")
    chosen = choose_device(device)
    with parallel.joined(chosen, recipe.schedule.batch) as team:
        if restart and team.leads:
            loop.forget(output)
        parallel.wait(team)
        faces = setup.faces(recipe.data, output, team)
        task = make_task(compute_for(chosen, recipe.schedule.precision, team))
        events = loop.run(task, faces, recipe.schedule, recipe.data.flip, output, resume, team)
        summary = _draw(events, recipe.schedule.steps, task.notes if team.leads else (), quiet or not team.leads)
        if json and team.leads:
            typer.echo(json_format.dumps({"output": str(output), **summary, "notes": list(task.notes)}))


def _draw(events: "Iterator[Event]", steps: int, notes: tuple[str, ...], quiet: bool) -> dict[str, object]:
    """Draws a run; returns the last of each kind of event for the summary."""
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from oodinv.cli.console import stderr
    from oodinv.training.loop import Evaluated, Logged, Saved

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    summary: dict[str, object] = {"step": 0, "losses": {}, "held_out": {}, "card": None}
    for note in notes:
        stderr.print(f"[yellow]note:[/] {escape(note)}")
    with Progress(*columns, console=stderr, disable=quiet) as progress:
        bar = progress.add_task("reading faces", total=steps, losses="")
        for event in events:
            match event:
                case Logged(step, losses, speed):
                    summary |= {"step": step, "losses": losses, "images_per_second": round(speed, 3)}
                    text = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
                    progress.update(bar, description="training", completed=step, losses=f"{speed:.1f} img/s  {text}")
                case Evaluated(step, scores, grid):
                    summary |= {"held_out": scores}
                    text = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
                    if not quiet:
                        progress.console.print(f"step {step}: held out {text}  {escape(str(grid))}")
                case Saved(step, card):
                    summary |= {"card": str(card)}
                    progress.update(bar, completed=step)
                    if not quiet:
                        progress.console.print(f"step {step}: model {escape(str(card))}")
    return summary
