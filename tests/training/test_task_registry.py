"""A training task from outside the package: one module and one entry, and `oodinv train` runs it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command import smooth_crops
from PIL import Image
from typer.testing import CliRunner

from oodinv.cli.train import make_app
from oodinv.errors import RecipeError
from oodinv.training.tasks import TASKS, TaskEntry, find_train_recipe

MODULE = '''
from typing import Literal

import torch
from torch import nn

from oodinv.recipe.train import TrainRecipe
from oodinv.training.loop import Evaluation
from oodinv.training.tasks.base import Definition


class MeanRecipe(TrainRecipe):
    """The mean colour of the training faces."""

    kind: Literal["mean_colour"]
    rate: float = 1.0


class MeanTask:
    notes = ()

    def __init__(self, recipe):
        self.rate, self.colour = recipe.rate, nn.Parameter(torch.zeros(3, 1, 1))
        self.module = nn.ParameterList([self.colour])

    def parts(self):
        return {"colour": self.module}

    def step(self, images, step, learning_rate):
        error = images.mean(dim=(0, 2, 3))[:, None, None] - self.colour.data
        self.colour.data += learning_rate * self.rate * error
        return {"error": error.square().mean().item()}

    def evaluate(self, batches):
        batches = list(batches)
        error = torch.cat([(batch - self.colour.data).square().mean((1, 2, 3)) for batch in batches])
        return Evaluation({"mse": error.mean().item()}, [batches[0]])

    def export(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "colour.txt"
        path.write_text(str(self.colour.data.flatten().tolist()))
        return path


TASK = Definition(MeanRecipe, lambda recipe, init, compute: MeanTask(recipe))
'''

RECIPE = """
kind: mean_colour
name: colour
data: {folder: nowhere, size: 32, aligned: true, flip: false}
schedule: {steps: 40, batch: 8, learning_rate: 0.2, log_every: 1, precision: float32}
"""


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskEntry:
    (tmp_path / "mean_colour_task.py").write_text(MODULE)
    (tmp_path / "colour.yaml").write_text(RECIPE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mean_colour_task", raising=False)
    return TaskEntry("colour", "mean_colour_task", "a mean colour", "colour")


def test_a_task_from_outside_the_package_trains(entry: TaskEntry, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    smooth_crops(photos, 60)
    app = make_app((*TASKS, entry))
    arguments = ["colour", "--recipe", str(tmp_path / "colour.yaml"), "--data", str(photos), "-o", str(tmp_path / "o")]
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["step"] == 40
    found = json.loads(Path(summary["card"]).read_text())
    pictures = [torch.from_numpy(np.asarray(Image.open(p), np.float32)).reshape(-1, 3) for p in photos.iterdir()]
    mean = torch.stack(pictures).mean(dim=(0, 1)) / 127.5 - 1
    assert torch.tensor(found) == pytest.approx(mean, abs=0.1)
    assert "a mean colour" in CliRunner().invoke(app, ["colour", "--help"]).output


def test_a_recipe_of_another_command_names_the_right_one(entry: TaskEntry, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="use `oodinv train colour`"):
        find_train_recipe(str(tmp_path / "colour.yaml"), "samm", tasks=(*TASKS, entry))
    with pytest.raises(RecipeError, match="kind"):
        find_train_recipe(str(tmp_path / "colour.yaml"), "samm")


def test_an_option_for_a_field_that_the_recipe_lacks_is_refused(entry: TaskEntry, tmp_path: Path) -> None:
    arguments = ["colour", "--recipe", str(tmp_path / "colour.yaml"), "-o", str(tmp_path / "o"), "--model", "m"]
    done = CliRunner().invoke(make_app((*TASKS, entry)), arguments)
    assert isinstance(done.exception, RecipeError)
    assert "--model" in str(done.exception)
