"""Definition of a training task: its recipe, and how the task is built from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from oodinv.recipe.train import TrainRecipe
from oodinv.training.device import Compute
from oodinv.training.loop import Task

R = TypeVar("R", bound=TrainRecipe)


@dataclass(frozen=True)
class Definition(Generic[R]):
    """A task's recipe class, and a function from a recipe to the task.

    build takes the recipe, the model to start from (name or card; None for random weights) and the device.
    """

    recipe: type[R]
    build: Callable[[R, str | None, Compute], Task]
