"""`oodinv train`: makes a generator with its encoder, or SAMM, from a folder of face photos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oodinv.recipe import JointRecipe, SammRecipe
    from oodinv.training.loop import Event

app = typer.Typer(help="Train models from a folder of face photos.", no_args_is_help=True)

RecipeOption = Annotated[str, typer.Option("--recipe", "-r", help="Name of a shipped training recipe, or a FILE.yaml.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for log, grids, checkpoint and model.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of photos, in place of the recipe's data.folder.")
]
InitOption = Annotated[
    str | None, typer.Option("--init", help="Model to go on from, a name or a card, in place of random weights.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, errors only.")]


@app.command("generator", epilog="Example: oodinv train generator --recipe mini-joint --data photos/ -o runs/mini")
def generator(
    recipe: RecipeOption,
    output: OutputOption,
    data: DataOption = None,
    init: InitOption = None,
    resume: ResumeOption = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Train a generator: recipes of kind `joint` train it together with a pyramid encoder.

    Writes a log (JSON lines), picture grids of held-out faces, a checkpoint, and the model with its card.
    """
    from oodinv.errors import RecipeError
    from oodinv.recipe import JointRecipe, find_train_recipe

    settings = find_train_recipe(recipe, data)
    if not isinstance(settings, JointRecipe):
        raise RecipeError(f"{recipe} is a recipe for {settings.kind}; use `oodinv train {settings.kind}`")
    _draw(_joint_events(settings, output, init, resume, device), settings.schedule.steps, quiet)


@app.command("samm", epilog="Example: oodinv train samm --recipe mini-samm --data photos/ -o runs/mini-samm")
def samm(
    recipe: RecipeOption,
    output: OutputOption,
    data: DataOption = None,
    model: Annotated[str | None, typer.Option("--model", help="Card in place of the recipe's model.")] = None,
    init: InitOption = None,
    resume: ResumeOption = False,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Train SAMM with the encoder and the generator of a model fixed.

    Writes a log (JSON lines), picture grids of held-out faces, a checkpoint, and SAMM with a card that joins
    it to the model.
    """
    from oodinv.errors import RecipeError
    from oodinv.recipe import SammRecipe, find_train_recipe

    settings = find_train_recipe(recipe, data)
    if not isinstance(settings, SammRecipe):
        raise RecipeError(f"{recipe} is a recipe for {settings.kind}; use `oodinv train generator`")
    if model is not None:
        settings = settings.model_copy(update={"model": model})
    _draw(_samm_events(settings, output, init, resume, device), settings.schedule.steps, quiet)


def _joint_events(
    recipe: "JointRecipe", output: Path, init: str | None, resume: bool, device: str
) -> "Iterator[Event]":
    from oodinv.training import loop, setup
    from oodinv.training.joint import JointTask

    compute = setup.compute(device, recipe.schedule.precision)
    faces = setup.faces(recipe.data, output)
    start = None if init is None else setup.base_model(init)
    task = JointTask(recipe, setup.lpips(), compute, start)
    return loop.run(task, faces, recipe.schedule, recipe.data.flip, output, resume)


def _samm_events(recipe: "SammRecipe", output: Path, init: str | None, resume: bool, device: str) -> "Iterator[Event]":
    from oodinv.training import loop, setup
    from oodinv.training.samm import SammTask

    compute = setup.compute(device, recipe.schedule.precision)
    faces = setup.faces(recipe.data, output)
    start = None if init is None else setup.base_model(init)
    task = SammTask(recipe, setup.base_model(recipe.model), setup.lpips(), compute, start)
    return loop.run(task, faces, recipe.schedule, recipe.data.flip, output, resume)


def _draw(events: "Iterator[Event]", steps: int, quiet: bool) -> None:
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
    with Progress(*columns, console=stderr, disable=quiet) as progress:
        bar = progress.add_task("reading faces", total=steps, losses="")
        for event in events:
            match event:
                case Logged(step, losses, speed):
                    text = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
                    progress.update(bar, description="training", completed=step, losses=f"{speed:.1f} img/s  {text}")
                case Evaluated(step, scores, grid):
                    text = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
                    progress.console.print(f"step {step}: held out {text}  {grid}")
                case Saved(step, card):
                    progress.update(bar, completed=step)
                    progress.console.print(f"step {step}: model {card}")
