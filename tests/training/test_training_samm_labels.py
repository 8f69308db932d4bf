"""SAMM trained with label maps, through preview heads, and on refined codes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from test_training_tasks import encoder_recipe
from training_setup import CPU, random_faces, random_lpips, samm_recipe

from oodinv.errors import RecipeError
from oodinv.models.perceptors.dlib_face import DlibFace
from oodinv.models.preview import head_for
from oodinv.recipe.card import read_card
from oodinv.recipe.train import FaceFolder
from oodinv.training import losses
from oodinv.training.data import FaceDataset
from oodinv.training.networks import LossNetworks
from oodinv.training.photos import UNLABELLED, load_faces
from oodinv.training.tasks.samm import SammRecipe, SammTask
from oodinv.weights.build import Model, load_model


def labelled_recipe(card: Path, **changes: object) -> SammRecipe:
    values = samm_recipe(1, card).model_dump()
    data = {"folder": "unused", "labels": "unused", "size": 32, "aligned": True}
    return SammRecipe.model_validate(values | {"data": data, "labels": {"kept": [3], "generated": [1]}} | changes)


def model_of(card: Path) -> Model:
    return load_model(read_card(card), card)


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of aligned crops, of which one has no label map, and the folder of maps."""
    crops, maps = tmp_path / "crops", tmp_path / "maps"
    rng = np.random.default_rng(0)
    for n in range(40):
        path = crops / "sub" / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
        if n:
            (maps / "sub").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.repeat([[3, 1]], 32, axis=0).repeat(32, axis=1).astype(np.uint8)).save(
                maps / "sub" / f"{n}.png"
            )
    return crops, maps


def test_labels_are_a_fourth_channel_mirrored_with_the_photo(photos: tuple[Path, Path], tmp_path: Path) -> None:
    crops, maps = photos
    data = FaceFolder(folder=str(crops), labels=str(maps), size=16, aligned=True)
    faces = load_faces(data, None, tmp_path / "cache")
    assert faces.crops.shape[1:] == (16, 16, 4)
    classes = faces.crops[: len(faces.train) + len(faces.held_out), ..., 3]
    assert sorted(set(np.unique(classes).tolist())) == [1, 3, UNLABELLED]
    assert (classes.reshape(len(classes), -1) == UNLABELLED).all(axis=1).sum() == 1
    row = int(np.flatnonzero(classes[:, 0, 0] == 3)[0])
    dataset = FaceDataset(faces.crops, np.array([row]))
    for mirrored, first in ((False, 3), (True, 1)):
        level = (dataset[0, mirrored][3] + 1) * 127.5
        assert round(float(level[0, 0])) == first


def test_damaged_and_coloured_label_maps_are_named(photos: tuple[Path, Path], tmp_path: Path) -> None:
    crops, maps = photos
    (maps / "sub" / "3.png").write_bytes(b"nothing")
    Image.new("RGB", (16, 16)).save(maps / "sub" / "4.png")
    data = FaceFolder(folder=str(crops), labels=str(maps), size=16, aligned=True)
    unusable = load_faces(data, None, tmp_path / "cache").unusable
    assert {Path(photo.path).name for photo in unusable} == {"3.png", "4.png"}
    assert any("can't be read as a label map" in photo.error for photo in unusable)
    assert any("mode RGB" in photo.error for photo in unusable)


def test_a_folder_with_no_label_map_of_a_crop_is_an_error(photos: tuple[Path, Path], tmp_path: Path) -> None:
    crops, _ = photos
    data = FaceFolder(folder=str(crops), labels=str(tmp_path / "elsewhere"), size=16, aligned=True)
    with pytest.raises(RecipeError, match=r"elsewhere.*\.png; correct data\.labels"):
        load_faces(data, None, tmp_path / "cache")


def test_means_on_classes_leave_out_images_without_them() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).reshape(2, 1, 1, 2)
    where = torch.tensor([[True, True], [False, False]]).reshape(2, 1, 1, 2)
    assert losses.mean_on(values, where).tolist() == [2.0]
    assert losses.mean_on(values, torch.zeros_like(where)).tolist() == [0.0]


def test_masks_follow_the_labels(tiny_card: Path) -> None:
    """After some steps the mask is larger on the kept half than on the generated one."""
    torch.manual_seed(0)
    recipe = labelled_recipe(
        tiny_card, start_steps={16: 0, 32: 0}, lpips=0.0, mse=0.0, mask=0.0, area={16: 1.0, 32: 1.0}
    )
    task = SammTask(recipe, model_of(tiny_card), LossNetworks(random_lpips()), CPU)
    classes = torch.where(torch.arange(32) < 16, 3, 1).expand(4, 1, 32, 32) / 127.5 - 1
    pictures = torch.where(torch.arange(32) < 16, 1.0, -1.0).expand(4, 3, 32, 32)
    images = torch.cat([pictures, classes], dim=1)
    for step in range(40):
        report = task.step(images, step, 1e-2)
    assert {"kept", "generated"} <= report.keys()
    with torch.no_grad():
        mask = task.align(task.samm, pictures, task.encode(pictures), [16, 32]).mask
    assert mask[..., :16].mean() > mask[..., 16:].mean() + 0.2


def test_labels_and_their_folder_need_each_other(tiny_card: Path) -> None:
    with pytest.raises(ValidationError, match="need each other"):
        labelled_recipe(tiny_card, labels=None)
    with pytest.raises(ValidationError, match=r"aligned: true"):
        FaceFolder(folder="faces", labels="maps", size=32)
    with pytest.raises(ValidationError, match="uses no labels"):
        encoder_recipe(1, tiny_card, data={"folder": "unused", "labels": "maps", "size": 32, "aligned": True})


def test_samm_is_trained_through_a_preview_and_on_refined_codes(tiny_card: Path) -> None:
    model = model_of(tiny_card)
    head = head_for(model.generator, 16)
    values = {"sizes": [16], "start_steps": {16: 0}, "area": {16: 0.3}, "heads": "unused", "refine": 1.0,
              "refine_steps": 2, "noise": "fixed", "labels": None}  # fmt: skip
    recipe = labelled_recipe(tiny_card, data={"folder": "unused", "size": 32, "aligned": True}, **values)
    task = SammTask(recipe, model, LossNetworks(random_lpips()), CPU, None, head, DlibFace().eval())
    images = torch.from_numpy(random_faces(32, 4).crops).permute(0, 3, 1, 2) / 127.5 - 1
    plain, refined = task.encode(images), task.encode(images, refined=True)
    assert not torch.equal(plain.w_plus, refined.w_plus)
    before = {name: value.clone() for name, value in task.samm.state_dict().items()}
    task.step(images, 0, 1e-2)
    assert any(not torch.equal(before[name], value) for name, value in task.samm.state_dict().items())
    with pytest.raises(RecipeError, match="do not fit"):
        SammTask(recipe.model_copy(update={"sizes": [16, 32]}), model, LossNetworks(random_lpips()), CPU, None, head)
