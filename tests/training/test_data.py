"""Training faces: caches, held-out faces, framings, batches."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command import smooth_crops
from PIL import Image
from training_setup import SIZE, random_faces

from oodinv.errors import ImageError, OutputError, RecipeError
from oodinv.faces.align import align
from oodinv.faces.detectors.base import Face
from oodinv.faces.selection import LARGEST
from oodinv.recipe.card import Crop
from oodinv.recipe.train import FaceFolder
from oodinv.training.data import Faces, Sampler, StepBatches, training_batches
from oodinv.training.photos import FaceCache, is_held_out, load_faces


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


def test_training_leaves_out_what_is_no_photo_of_the_folder_and_names_what_it_can_not_use(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    smooth_crops(photos, 60)
    for name in (".thumbnails/p0.png", "@eaDir/p1.png", "._p2.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes((photos / "p0.png").read_bytes())
    (photos / "raw.cr2").write_bytes(b"x")
    (photos / "notes.txt").write_bytes(b"x")
    Image.new("RGB", (32, 31)).save(photos / "wide.png")
    faces = load_faces(FaceFolder(folder=str(photos), size=SIZE, aligned=True), None, tmp_path / "cache")
    assert len(faces.train) + len(faces.held_out) == 60
    assert {Path(photo.path).name: photo.error.split(": ", 1)[1] for photo in faces.unusable} == {
        "raw.cr2": ".cr2 files can't be read; export it as JPEG, PNG or TIFF",
        "wide.png": "is 32 by 31 pixels, and --aligned expects square crops; leave out --aligned (in a recipe, "
        "aligned: true) to have faces found and cut out, or cut it square",
    }


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
        with pytest.raises((RecipeError, ImageError), match=str(folder)):
            load_faces(FaceFolder(folder=str(folder), size=SIZE, aligned=True), None, tmp_path / "cache")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes")
def test_a_folder_whose_name_is_not_utf8_has_a_cache_of_its_own(tmp_path: Path) -> None:
    caches = set()
    for name in (b"caf\xe9", b"caf\xe8"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        (tmp_path / "a.png").rename(folder / os.fsdecode(b"\xff.png"))
        data = FaceFolder(folder=str(folder), size=SIZE, aligned=True)
        caches.add(FaceCache.of(data, tmp_path / "cache").folder)
    assert len(caches) == 2
