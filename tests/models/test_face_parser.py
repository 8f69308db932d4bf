"""Face parser: shapes, what it finds in the sample photos, its file, and its training."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from training_setup import CPU, schedule

from oodinv.errors import WeightsError
from oodinv.faces.align import align
from oodinv.faces.detectors.yunet import Yunet
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.parts import FACE_PARTS, PARTS, PartMap
from oodinv.faces.selection import LARGEST
from oodinv.imaging.decode import read_photo
from oodinv.imaging.pixels import to_tensor
from oodinv.inversion import parse
from oodinv.models.perceptors.face_parser import CELEBAMASK, MAP_SIZE, FaceParser
from oodinv.recipe.base import data_folder
from oodinv.training.tasks.face_parser import UNKNOWN, FaceParserRecipe, FaceParserTask, part_weights, parts_of, reduced
from oodinv.weights import native
from oodinv.weights.parser import load_parser, read_parser
from oodinv.weights.pull import pull


def crop_of(path: Path) -> np.ndarray:
    """The largest face of a photo, uint8 (512, 512, 3)."""
    return align(read_photo(path).pixels, Yunet(pull("yunet")), 512, ffhq_quad, LARGEST).faces[0].crop


@pytest.fixture(scope="module")
def sample() -> PartMap:
    """Label map of a sample photo."""
    (path,) = data_folder("samples").glob("eileen-collins.*")
    return parse([crop_of(path)])[0]


def share(parts: PartMap, names: tuple[str, ...], where: tuple[slice, slice]) -> float:
    """Share of some parts in a box."""
    return float(np.isin(parts[where], [PARTS.index(name) for name in names]).mean())


def test_parts_of_a_sample_photo_are_where_ffhq_puts_them(sample: PartMap) -> None:
    assert sample.shape == (MAP_SIZE, MAP_SIZE)
    assert sample.dtype == np.uint8
    assert share(sample, FACE_PARTS, np.s_[52:100, 44:84]) > 0.97
    assert share(sample, ("eye", "brow"), np.s_[52:66, 36:92]) > 0.15
    assert share(sample, ("mouth", "lip"), np.s_[92:102, 54:74]) > 0.8
    assert share(sample, ("hair",), np.s_[8:20, 40:90]) > 0.9
    assert share(sample, ("background",), np.s_[:40, :8]) > 0.8
    assert share(sample, ("glasses", "hat"), np.s_[:, :]) < 0.01


def test_every_crop_of_any_size_gets_a_map_of_128_pixels() -> None:
    for size in (32, 200, 1024):
        (found,) = parse([np.full((size, size, 3), 128, np.uint8)])
        assert found.shape == (MAP_SIZE, MAP_SIZE)
        assert found.max() < len(PARTS)


def test_a_saved_parser_finds_the_same_parts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    parser = FaceParser(widths=(4, 6, 8), pyramid=4).eval()
    native.save(tmp_path / "p.safetensors", parser)
    image = torch.rand(2, 3, 256, 256) * 2 - 1
    again = read_parser(tmp_path / "p.safetensors")
    np.testing.assert_allclose(again(image), parser(image).detach(), atol=0.02)
    assert not any(p.requires_grad for p in again.parameters())


@pytest.mark.parametrize("damage", ["kind", "config", "values"])
def test_another_file_is_no_parser(damage: str, tmp_path: Path) -> None:
    state = {} if damage == "values" else FaceParser(widths=(4, 6), pyramid=4).state_dict()
    config = "no JSON" if damage == "config" else json.dumps({"widths": [4, 6], "pyramid": 4, "classes": 15})
    kind = "samm" if damage == "kind" else "face_parser"
    path = tmp_path / "p.safetensors"
    state = state or {"x": torch.zeros(1)}
    path.write_bytes(safetensors.torch.save(state, {"format": "oodinv", "kind": kind, "config": config}))
    with pytest.raises(WeightsError, match=r"p\.safetensors: is not a file of a face parser"):
        read_parser(path)


def test_the_parser_is_read_once() -> None:
    assert load_parser() is load_parser()


def test_classes_of_celebamask_join_left_and_right() -> None:
    labels = torch.tensor([[4, 5, 11, 12, 13, 30, 255]])
    assert [PARTS[n] if n != UNKNOWN else None for n in parts_of(labels)[0]] == [
        "eye", "eye", "lip", "lip", "hair", None, None,
    ]  # fmt: skip
    assert len(CELEBAMASK) == 19
    assert set(CELEBAMASK) == set(range(len(PARTS)))


def test_rare_parts_weigh_more_up_to_a_bound() -> None:
    wanted = torch.zeros(1, 128, 128, dtype=torch.int64)
    wanted[0, :64], wanted[0, 0, :4], wanted[0, 127] = 1, 2, UNKNOWN
    weights = part_weights(wanted)
    assert weights[1] == pytest.approx(1, abs=0.05)
    assert weights[2] == 4


def faces(count: int) -> torch.Tensor:
    """Crops with labels (count, 4, 256, 256): a bright disc of skin on dark background at varied places."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:256, 0:256]
    crops = np.zeros((count, 256, 256, 4), np.uint8)
    for crop in crops:
        disc = np.hypot(x - rng.integers(100, 156), y - rng.integers(100, 156)) < rng.integers(50, 80)
        crop[..., :3] = np.where(disc, 200, 60)[..., None] + rng.integers(-20, 20, 3)
        crop[..., 3] = disc
    return torch.cat([to_tensor(crop) for crop in crops])


def task(**more: object) -> FaceParserTask:
    data = {"folder": ".", "labels": ".", "size": 256, "aligned": True}
    fields = {"kind": "face_parser", "name": "p", "data": data, "schedule": schedule(30).model_dump() | {"batch": 2}}
    recipe = FaceParserRecipe.model_validate(fields | more)
    torch.manual_seed(0)
    return FaceParserTask(recipe, CPU, FaceParser(widths=(16, 16, 16), pyramid=8))


def test_training_finds_the_parts() -> None:
    trained, images = task(), faces(8)
    losses = [trained.step(images[n % 4 * 2 : n % 4 * 2 + 2], n, 0.02)["cross_entropy"] for n in range(30)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])
    found = trained.evaluate([images]).scores
    assert found["accuracy"] > 0.9
    assert found["iou_skin"] > 0.7
    assert "iou_hat" not in found


def test_variation_moves_pictures_and_labels_together() -> None:
    images = faces(2)
    pictures, labels = task(light=0, grey=0, soften=0).varied(images[:, :3], (images[:, 3:] + 1) * 127.5, 0)
    inside = labels.round() == 1
    assert (pictures[:, :1][inside] > 0).float().mean() > 0.97
    assert not torch.equal(labels, (images[:, 3:] + 1) * 127.5)
    assert reduced(labels).shape == (2, MAP_SIZE, MAP_SIZE)


def test_the_trained_parser_is_exported(tmp_path: Path) -> None:
    trained = task()
    path = trained.export(tmp_path / "out")
    assert path.name == "p.safetensors"
    assert sum(1 for _ in islice(read_parser(path).parameters(), 100)) == sum(1 for _ in trained.parser.parameters())
