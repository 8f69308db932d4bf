"""Training tasks: trained by `oodinv train`. A task is one module of this package and one line in `TASKS`.

The module holds the recipe (a `TrainRecipe`), the task (see `oodinv.training.loop.Task`) and `TASK`, a
`base.Definition` of both. The command line is built from `TASKS` alone, so that `--help` imports no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

if TYPE_CHECKING:
    from oodinv.recipe.train import TrainRecipe
    from oodinv.training.tasks.base import Definition


@dataclass(frozen=True)
class TaskEntry:
    """Entry of a task for the command line.

    command: sub-command of `oodinv train`; several tasks may share one. module: imported when the task is used.
    summary: trained network, for `--help`. example: name of a shipped recipe.
    """

    command: str
    module: str
    summary: str
    example: str

    def load(self) -> "Definition[Any]":
        """Imports the task's module, and torch with it."""
        definition: Definition[Any] = import_module(self.module).TASK
        return definition


TASKS = (
    TaskEntry("generator", "oodinv.training.tasks.stylegan2", "a StyleGAN2 generator from photos", "ffhq-stylegan2"),
    TaskEntry("generator", "oodinv.training.tasks.joint", "a generator and its encoder", "small-autoencoder"),
    TaskEntry("encoder", "oodinv.training.tasks.encoder", "an encoder for a fixed generator", "ffhq-e4e-encoder"),
    TaskEntry("samm", "oodinv.training.tasks.samm", "SAMM for a fixed encoder and generator", "small-samm"),
    TaskEntry("heads", "oodinv.training.tasks.preview_heads", "preview heads of a generator", "ffhq-mobile-heads"),
    TaskEntry("encoder", "oodinv.training.tasks.preview_encoder", "one through previews", "ffhq-mobile-encoder"),
    TaskEntry("parser", "oodinv.training.tasks.face_parser", "the face parser", "face-parser"),
)


def find_train_recipe(
    recipe: str, command: str | None = None, data: Path | None = None, tasks: "Sequence[TaskEntry]" = TASKS
) -> "tuple[TrainRecipe, Definition[Any]]":
    """Reads a training recipe and finds its task.

    Args:
        recipe: name of a shipped recipe, or a FILE.yaml.
        command: sub-command of `oodinv train` that the recipe has to belong to; None for any.
        data: folder of photos that replaces the recipe's `data.folder`.
        tasks: the tasks to choose from.

    Raises:
        RecipeError: there is no such recipe, it doesn't validate, or it belongs to another sub-command.
    """
    import pydantic  # slow to import, and not needed for --help

    from oodinv.errors import RecipeError, suggestion
    from oodinv.recipe.base import read_yaml, recipe_names, recipe_path

    path = recipe_path("train", recipe)
    if not path.is_file():
        names = recipe_names("train")
        listed = ", ".join(names)
        near = suggestion(recipe, names)
        raise RecipeError(f"there is no training recipe {path}; pass a FILE.yaml, or one of {listed}{near}")
    definitions = {definition.recipe: (entry, definition) for entry in tasks for definition in [entry.load()]}
    form: Any = Annotated[Union[tuple(definitions)], pydantic.Field(discriminator="kind")]  # noqa: UP007 - built at run time
    settings: TrainRecipe = read_yaml(path, form)
    entry, definition = definitions[type(settings)]
    if command not in (None, entry.command):
        raise RecipeError(f"{recipe} is a recipe of kind {settings.kind}; use `oodinv train {entry.command}`")
    if data is not None:
        if settings.data is None:
            raise RecipeError(f"{recipe} needs no photos; leave out --data")
        settings = settings.model_copy(update={"data": settings.data.model_copy(update={"folder": str(data)})})
    return settings, definition
