"""Training: batches, moving averages, a run that is stopped and resumed, and its result in `invert`."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command import smooth_crops
from PIL import Image
from torch import nn

from oodinv.errors import OutputError, RecipeError, WeightsError
from oodinv.faces.align import align
from oodinv.faces.detectors.base import Face
from oodinv.faces.selection import LARGEST
from oodinv.imaging.pixels import to_uint8
from oodinv.inversion import invert
from oodinv.models.perceptors.lpips import Lpips
from oodinv.recipe.card import Crop, read_card
from oodinv.recipe.train import FaceFolder, Schedule
from oodinv.training import ema, loop
from oodinv.training.data import Faces, Sampler, StepBatches, training_batches
from oodinv.training.device import Compute
from oodinv.training.loop import Logged, Saved, Stopped, learning_rate
from oodinv.training.networks import LossNetworks
from oodinv.training.photos import FaceCache, is_held_out, load_faces
from oodinv.training.tasks.joint import JointRecipe, JointTask
from oodinv.training.tasks.samm import SammRecipe, SammTask
from oodinv.weights.build import load_model

CPU = Compute(torch.device("cpu"), bfloat16=False)
SIZE = 16


def schedule(steps: int) -> Schedule:
    return Schedule(
        steps=steps, batch=4, learning_rate=1e-3, log_every=1, evaluate_every=4, checkpoint_every=2, ema_images=8
    )


def joint_recipe(steps: int, adversarial: bool = False) -> JointRecipe:
    return JointRecipe.model_validate(
        {
            "kind": "joint",
            "name": "test",
            "licence": "none",
            "data": {"folder": "unused", "size": SIZE, "aligned": True},
            "schedule": schedule(steps).model_dump(),
            "w_dim": 8,
            "generator_channels": {4: 8, 8: 8, 16: 8},
            "encoder_channels": {16: 4, 8: 8, 4: 8},
            "encoder_hidden": 16,
            "adversarial": {"weight": 0.1, "channels": {4: 8, 8: 8, 16: 8}, "r1_interval": 2} if adversarial else None,
        }
    )


def samm_recipe(steps: int, card: Path) -> SammRecipe:
    return SammRecipe.model_validate(
        {
            "kind": "samm",
            "name": "test",
            "model": str(card),
            "data": {"folder": "unused", "size": 32, "aligned": True},
            "schedule": schedule(steps).model_dump(),
            "sizes": [16, 32],
            "start_steps": {16: 0, 32: 2},
            "area": {16: 0.3, 32: 0.2},
        }
    )


def random_faces(size: int, count: int = 24) -> Faces:
    x = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.interpolate(x, size=(size, size), mode="bilinear") * 0.5
    pixels = to_uint8(smooth)
    return Faces(pixels, np.arange(count - 4), np.arange(count - 4, count))


def random_lpips() -> Lpips:
    torch.manual_seed(0)
    return Lpips("alexnet").eval().requires_grad_(False)


def losses_of(events: list[loop.Event]) -> list[tuple[int, dict[str, float]]]:
    return [(e.step, e.losses) for e in events if isinstance(e, Logged)]


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
    task = JointTask(recipe, random_lpips(), CPU)
    found = losses_of(list(loop.run(task, random_faces(SIZE), recipe.schedule, False, tmp_path, resume=False)))
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


def test_an_epoch_shows_every_face_once() -> None:
    sampler = Sampler(count=20, batch=4, seed=3, flip=False)
    first = np.concatenate([sampler.indices(step) for step in range(5)])
    second = np.concatenate([sampler.indices(step) for step in range(5, 10)])
    assert sorted(first) == sorted(second) == list(range(20))
    assert list(first) != list(second)


def draw(faces: Faces, batches: StepBatches) -> list[torch.Tensor]:
    return list(training_batches(faces, batches))


def test_flips_mirror_about_half_and_leave_the_source_alone() -> None:
    crops = np.arange(64 * 2 * 2 * 3, dtype=np.uint64).astype(np.uint8).reshape(64, 2, 2, 3)
    faces = Faces(crops.copy(), np.arange(64), np.arange(0))
    (drawn,) = draw(faces, StepBatches(Sampler(count=64, batch=64, seed=0, flip=True), 0, 1))
    (plain,) = draw(faces, StepBatches(Sampler(count=64, batch=64, seed=0, flip=False), 0, 1))
    mirrored = sum(torch.equal(a, b.flip(2)) for a, b in zip(drawn, plain, strict=True))
    assert 20 <= mirrored <= 44
    assert np.array_equal(faces.crops, crops)


def test_batches_depend_on_seed_and_step_alone() -> None:
    faces, sampler = random_faces(SIZE), Sampler(count=20, batch=4, seed=3, flip=True)
    whole = draw(faces, StepBatches(sampler, 0, 12))
    assert all(torch.equal(a, b) for a, b in zip(whole[7:], draw(faces, StepBatches(sampler, 7, 12)), strict=True))
    shares = [draw(faces, StepBatches(sampler, 0, 12, rank, 2)) for rank in range(2)]
    for batch, *halves in zip(whole, *shares, strict=True):
        assert torch.equal(batch, torch.stack(halves, dim=1).flatten(0, 1))
    ahead = list(training_batches(faces, StepBatches(sampler, 0, 12), workers=1))
    assert all(torch.equal(a, b) for a, b in zip(whole, ahead, strict=True))


def test_held_out_faces_follow_the_content_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "faces"
    folder.mkdir()
    for n in range(120):
        pixels = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    (folder / "broken.png").write_bytes(b"")
    held_out = {p.name for p in folder.glob("[0-9]*.png") if is_held_out(p.read_bytes())}
    data = FaceFolder(folder=str(folder), size=SIZE, aligned=True)
    faces = load_faces(data, None, tmp_path / "cache")
    assert len(faces.held_out) == len(held_out) > 0
    assert len(faces.train) == 120 - len(held_out)
    assert [Path(photo.path).name for photo in faces.unusable] == ["broken.png"]
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.glob("[0-9]*.png"))]
    assert np.array_equal(faces.crops[:120], pictures)
    assert isinstance(faces.crops, np.memmap)
    again = load_faces(data, None, tmp_path / "cache")
    assert np.array_equal(faces.crops, again.crops)
    assert np.array_equal(faces.train, again.train)


@pytest.mark.parametrize("damage", ["cut crops", "no crops", "cut index", "foreign index", "rows beyond", "no array"])
def test_a_damaged_cache_names_its_folder_and_the_way_out(tmp_path: Path, damage: str) -> None:
    (tmp_path / "faces").mkdir()
    smooth_crops(tmp_path / "faces", 60)
    data = FaceFolder(folder=str(tmp_path / "faces"), size=32, aligned=True)
    load_faces(data, None, tmp_path / "cache")
    folder = FaceCache.of(data, tmp_path / "cache").folder
    crops, index = folder / "crops.npy", folder / "index.json"
    match damage:
        case "cut crops":
            crops.write_bytes(crops.read_bytes()[:-1000])
        case "no crops":
            crops.unlink()
        case "cut index":
            index.write_text(index.read_text()[:-5])
        case "foreign index":
            index.write_text("[]")
        case "rows beyond":
            index.write_text(json.dumps(json.loads(index.read_text()) | {"train": [0, 61]}))
        case "no array":
            crops.write_bytes(b"no array")
    with pytest.raises(OutputError, match="remove this folder") as caught:
        load_faces(data, None, tmp_path / "cache")
    assert str(folder) in str(caught.value)


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


class OneFace:
    """A detector that sees the same upright face in every photo."""

    points = np.array([[60.0, 70.0], [100.0, 72.0], [80.0, 95.0], [65.0, 115.0], [96.0, 116.0]])

    def detect(self, pixels: np.ndarray) -> list[Face]:
        points = self.points * (len(pixels) / 160)
        return [Face(points, points, 1.0, "yunet")]


def test_training_faces_in_more_framings(tmp_path: Path) -> None:
    """Each training photo at every scale, as `align` would crop it there; held-out ones at the model's alone."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for n in range(40):
        Image.fromarray(rng.integers(0, 255, (160, 160, 3), dtype=np.uint8)).save(tmp_path / f"photos/{n:02}.png")
    files = sorted((tmp_path / "photos").iterdir())
    seen = [file for file in files if not is_held_out(file.read_bytes())]
    data = FaceFolder(folder=str(tmp_path / "photos"), size=SIZE, crop=Crop(scale=0.85), more_scales=(1.0,))
    faces = load_faces(data, OneFace(), tmp_path / "cache")
    assert (len(faces.train), len(faces.held_out)) == (2 * len(seen), 40 - len(seen))
    for n, scale in enumerate((0.85, 1.0)):
        photo = np.asarray(Image.open(seen[3]))
        (expected,) = align(photo, OneFace(), SIZE, Crop(scale=scale).quad, LARGEST).faces
        assert np.abs(faces.crops[faces.train[6 + n]].astype(int) - expected.crop).max() <= 1
    with pytest.raises(ValueError, match="more_scales"):
        FaceFolder(folder="crops", size=SIZE, aligned=True, more_scales=(1.0,))


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(RecipeError, match=str(folder)):
            load_faces(FaceFolder(folder=str(folder), size=SIZE, aligned=True), None, tmp_path / "cache")


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
