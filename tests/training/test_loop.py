"""The training loop: a run that is stopped and resumed, moving averages, and its result in `invert`."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from training_setup import CPU, SIZE, joint_recipe, losses_of, random_faces, random_lpips, samm_recipe

from oodinv.errors import WeightsError
from oodinv.inversion import invert
from oodinv.recipe.card import read_card
from oodinv.recipe.train import Schedule
from oodinv.training import ema, loop
from oodinv.training.device import Compute
from oodinv.training.loop import Logged, Saved, Stopped, learning_rate
from oodinv.training.networks import LossNetworks
from oodinv.training.tasks.joint import JointTask
from oodinv.training.tasks.samm import SammTask
from oodinv.weights.build import load_model


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_resumed_run_has_the_losses_of_an_undisturbed_one(tmp_path: Path, adversarial: bool) -> None:
    """Bit for bit on the CPU, with everything that the step needs in the checkpoint."""
    recipe, faces = joint_recipe(6, adversarial), random_faces(SIZE)
    settings = recipe.schedule

    def events(output: str, resume: bool) -> "itertools.islice[loop.Event]":
        task = JointTask(recipe, random_lpips(), CPU)
        return itertools.islice(loop.run(task, faces, settings, True, tmp_path / output, resume), None)

    whole = losses_of(list(events("whole", resume=False)))
    stopped = events("stopped", resume=False)
    first = list(itertools.takewhile(lambda e: not (isinstance(e, Logged) and e.step == 5), stopped))
    assert any(isinstance(e, Saved) and e.step == 4 for e in first)
    rest = losses_of(list(events("stopped", resume=True)))
    assert [step for step, _ in rest] == [5, 6]
    assert rest == whole[4:]
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "stopped")]
    steps = [[json.loads(line)["step"] for line in log] for log in logs]
    assert steps[0] == steps[1]


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    recipe = joint_recipe(60)
    schedule = recipe.schedule.model_copy(update={"evaluate_every": 60, "checkpoint_every": 60})
    task = JointTask(recipe, random_lpips(), CPU)
    found = losses_of(list(loop.run(task, random_faces(SIZE), schedule, False, tmp_path, resume=False)))
    l1 = [losses["l1"] for _, losses in found]
    assert np.mean(l1[-5:]) < 0.7 * np.mean(l1[:5])


def test_the_log_is_json_lines_and_grids_are_pictures(tmp_path: Path) -> None:
    recipe = joint_recipe(4)
    list(loop.run(JointTask(recipe, random_lpips(), CPU), random_faces(SIZE), recipe.schedule, True, tmp_path, False))
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [1, 2, 3, 4, 4]
    assert set(records[-1]["held_out"]) == {"psnr", "lpips"}
    with Image.open(tmp_path / "grids" / "0000004.png") as grid:
        assert grid.size == (4 * SIZE, 2 * SIZE)


def test_samm_training_moves_samm_alone_and_gives_a_card_that_invert_takes(tiny_card: Path, tmp_path: Path) -> None:
    base = load_model(read_card(tiny_card), tiny_card)
    before = {k: v.clone() for k, v in base.generator.state_dict().items()}
    recipe = samm_recipe(4, tiny_card)
    task = SammTask(recipe, base, LossNetworks(random_lpips()), CPU)
    samm_before = {k: v.clone() for k, v in task.samm.state_dict().items()}
    events = list(loop.run(task, random_faces(32), recipe.schedule, True, tmp_path, resume=False))
    assert all(torch.equal(v, before[k]) for k, v in base.generator.state_dict().items())
    moved = [k for k, v in task.samm.state_dict().items() if not torch.equal(v, samm_before[k])]
    assert {k.split(".")[1] for k in moved} == {"16", "32"}
    saved = [e for e in events if isinstance(e, Saved)]
    model = load_model(read_card(saved[-1].card), saved[-1].card)
    inversion = invert(model, torch.zeros(2, 3, 32, 32), noise="zero")
    assert sorted(inversion.alignments) == [16, 32]
    assert inversion.composite.shape == (2, 3, 32, 32)


def test_training_goes_on_from_a_model(tiny_card: Path) -> None:
    base = load_model(read_card(tiny_card), tiny_card)
    task = SammTask(samm_recipe(1, tiny_card), base, LossNetworks(random_lpips()), CPU, start=base)
    assert base.samm is not None
    assert all(torch.equal(v, base.samm.state_dict()[k]) for k, v in task.average_samm.state_dict().items())
    with pytest.raises(WeightsError, match="other sizes"):
        JointTask(joint_recipe(1), random_lpips(), CPU, start=base)


def test_resuming_without_or_with_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    recipe = joint_recipe(2)
    task = JointTask(recipe, random_lpips(), CPU)
    with pytest.raises(WeightsError, match="without --resume"):
        list(loop.run(task, random_faces(SIZE), recipe.schedule, True, tmp_path, resume=True))
    (tmp_path / loop.CHECKPOINT).write_bytes(b"torn")
    with pytest.raises(WeightsError, match="not a checkpoint of oodinv"):
        list(loop.run(task, random_faces(SIZE), recipe.schedule, True, tmp_path, resume=True))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    recipe = joint_recipe(2)
    list(loop.run(JointTask(recipe, random_lpips(), CPU), random_faces(SIZE), recipe.schedule, True, tmp_path, False))
    other = JointTask(joint_recipe(2, adversarial=True), random_lpips(), CPU)
    with pytest.raises(WeightsError, match="another recipe"):
        list(loop.run(other, random_faces(SIZE), recipe.schedule, True, tmp_path, resume=True))


def test_a_stopped_run_continues_with_the_losses_of_an_undisturbed_one(tmp_path: Path) -> None:
    recipe, faces = joint_recipe(6), random_faces(SIZE)
    asked = iter([False, False, True])

    def events(output: str, resume: bool, stop: Callable[[], bool] = loop.never) -> list[loop.Event]:
        task = JointTask(recipe, random_lpips(), CPU)
        return list(loop.run(task, faces, recipe.schedule, True, tmp_path / output, resume, stop=stop))

    whole = losses_of(events("whole", resume=False))
    first = events("stopped", resume=False, stop=lambda: next(asked))
    assert first[-1] == Stopped(3)
    assert isinstance(first[-2], Saved)
    assert losses_of(first) + losses_of(events("stopped", resume=True)) == whole


def test_moving_average_against_its_closed_form() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = ema.MovingAverage(module)
    nn.init.ones_(module.weight)
    for _ in range(10):
        average.update(module, 0.9)
    assert average.module.weight.item() == pytest.approx(1 - 0.9**10)
    assert ema.decay_for(batch=8, half_life_images=80, seen=10**6) == pytest.approx(0.5**0.1)
    assert ema.decay_for(batch=8, half_life_images=10**6, seen=0) < 1e-3


def test_learning_rate_warms_up_and_falls() -> None:
    settings = Schedule(steps=100, batch=1, learning_rate=2.0, final_learning_rate_share=0.1, warmup=10)
    assert learning_rate(settings, 0) == pytest.approx(0.2, rel=0.01)
    assert learning_rate(settings, 50) == pytest.approx(2 * 0.55)
    assert learning_rate(settings, 100) == pytest.approx(0.2)


def test_shipped_recipes_are_valid() -> None:
    from oodinv.recipe.base import data_folder, read_yaml
    from oodinv.recipe.card import GeneratorOnlyCard
    from oodinv.training.tasks import find_train_recipe

    names = [p.stem for p in (data_folder("recipes") / "train").glob("*.yaml")]
    assert {find_train_recipe(name)[0].kind for name in names} == {
        "encoder",
        "face_parser",
        "joint",
        "preview_encoder",
        "preview_heads",
        "samm",
        "stylegan2",
    }
    for card in data_folder("pretrained").glob("*.yaml"):
        shipped = read_yaml(card, GeneratorOnlyCard)
        assert shipped.name == card.stem
        assert shipped.encoder is None or read_card(card).encoder == shipped.encoder


def test_autocast_keeps_losses_near_single_precision(tmp_path: Path) -> None:
    recipe, faces = joint_recipe(3), random_faces(SIZE)
    found: list[list[float]] = []
    for name, bfloat16 in (("single", False), ("half", True)):
        compute = Compute(torch.device("cpu"), bfloat16)
        task = JointTask(recipe, random_lpips(), compute)
        events = loop.run(task, faces, recipe.schedule, True, tmp_path / name, resume=False)
        found.append([losses["l1"] for _, losses in losses_of(list(events))])
    assert np.allclose(*found, rtol=0.05)
