"""Encoders and SAMM are trained for a family of generators from outside the package."""

import math
from pathlib import Path

import pytest
import tiny_family
import torch
from test_training_tasks import encoder_recipe
from training_setup import CPU, random_lpips, samm_recipe

from oodinv.models import generators
from oodinv.recipe.card import read_card
from oodinv.training.networks import LossNetworks
from oodinv.training.setup import fixed_generator
from oodinv.training.tasks.encoder import EncoderTask
from oodinv.training.tasks.samm import SammRecipe, SammTask
from oodinv.weights.build import load_model


@pytest.mark.parametrize("kind", ["samm", "encoder"])
def test_a_family_from_outside_is_trained_for(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generators, "GENERATORS", (*generators.GENERATORS, tiny_family.Tiny))
    path = tiny_family.write_card(tmp_path)
    data = {"folder": "unused", "size": 16, "aligned": True}
    if kind == "samm":
        sizes = {"sizes": [8, 16], "start_steps": {8: 0, 16: 0}, "area": {8: 0.3, 16: 0.3}, "channels": 2}
        recipe = SammRecipe.model_validate(samm_recipe(1, path).model_dump() | sizes | {"data": data})
        task = SammTask(recipe, load_model(read_card(path), path), LossNetworks(random_lpips()), CPU)
        trained = task.samm
    else:
        plan = {"kind": "pyramid", "channels": {16: 4, 8: 4, 4: 4}, "hidden": 8}
        settings = encoder_recipe(1, path, data=data, encoder=plan)
        task = EncoderTask(settings, fixed_generator(str(path)), LossNetworks(random_lpips()), CPU)
        trained = task.encoder
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    report = task.step(images, 0, 1e-2)
    assert all(math.isfinite(value) for value in report.values())
    assert any(not torch.equal(before[name], value) for name, value in trained.state_dict().items())
    card = task.export(tmp_path / kind)
    assert load_model(read_card(card), card).generator.kind == "tiny"
