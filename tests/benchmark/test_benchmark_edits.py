"""`oodinv benchmark --edit`: what is tried, what is measured along directions, and that it is what `edit` writes."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command import call_here, smooth_crops

from oodinv import directions
from oodinv.benchmark.edits import Attributes, ways
from oodinv.benchmark.score import load_scorer
from oodinv.compositing.composition import Composition
from oodinv.faces.parts import FACE_PARTS, part_weight
from oodinv.imaging.decode import read_photo
from oodinv.inversion import parse
from oodinv.metrics.base import Setting
from oodinv.metrics.identity import arcface, identity
from oodinv.models.perceptors.arcface import Recognition
from oodinv.recipe.benchmark import BenchmarkRecipe
from oodinv.recipe.edit import EditRecipe, EditStep

EDIT = {"edits": [{"direction": "up.safetensors", "strength": 2.0}], "compose": {"area": "crop", "detail": 0.5}}
WAYS = ["no edit", "recipe", "edited-pass", "laplacian", "poisson", "no-detail"]


def test_strengths_are_told_apart_though_directions_are_not_at_right_angles() -> None:
    draw = torch.Generator().manual_seed(0)
    units = torch.randn(3, 5 * 8, generator=draw, dtype=torch.float64)
    units[1] += units[0]
    strengths = torch.tensor([[1.5, -2.0, 0.25], [0.0, 1.0, 0.0]], dtype=torch.float64)
    moved = (strengths @ units).reshape(2, 5, 8)
    rest = torch.randn(2, 40, generator=draw, dtype=torch.float64)
    rest -= rest @ torch.linalg.pinv(units) @ units  # what no direction explains
    found = Attributes(("a", "b", "c"), units).of(moved + rest.reshape(2, 5, 8))
    torch.testing.assert_close(found, strengths)


def test_each_way_does_one_thing_differently() -> None:
    recipe = EditRecipe(edits=[EditStep(direction="x", strength=1)], compose=Composition(detail=1, technique="poisson"))
    found = ways(recipe, has_samm=True)
    assert list(found) == ["recipe", "edited-pass", "mask", "laplacian", "no-detail"]
    assert found["edited-pass"].mask == "edited"
    assert found["edited-pass"].compose == recipe.compose
    assert (found["mask"].compose.technique, found["mask"].compose.detail) == ("mask", 1)
    assert (found["no-detail"].compose.technique, found["no-detail"].compose.detail) == ("poisson", 0)
    assert list(ways(recipe, has_samm=False)) == ["recipe", "no-detail"]


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of 32 px."""
    return smooth_crops(tmp_path_factory.mktemp("crops"), 3)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of one direction of the small model."""
    folder = tmp_path_factory.mktemp("recipe")
    vector = torch.randn(8, 16, generator=torch.Generator().manual_seed(2))
    directions.write(folder / "up.safetensors", directions.Direction("up", "tiny", vector))
    (folder / "raise.yaml").write_text(yaml.safe_dump(EDIT))
    return folder / "raise.yaml"


@pytest.fixture(scope="module")
def report(crops: Path, recipe: Path, tiny_card: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run with an edit."""
    folder = tmp_path_factory.mktemp("bench") / "report"
    protocol = {
        "kind": "benchmark", "name": "test", "title": "A test", "protocol": "none", "reference": "crop",
        "metrics": [{"metric": "psnr"}, {"metric": "identity_arcface"}], "distances": ["fid"], "cost_images": 1,
        "edits": [str(recipe)],
    }  # fmt: skip
    (folder.parent / "test.yaml").write_text(yaml.safe_dump(protocol))
    done = call_here("benchmark", "--dataset", crops, "-o", folder, "--model", tiny_card, "--aligned",
                "--protocol", folder.parent / "test.yaml", "--batch-size", "2", "--ablate", "laplacian,poisson",
                "--quiet")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def rows(report: Path) -> dict[str, dict[str, str]]:
    text = (report / "scores-edits.csv").read_text()
    return {row["way"]: row for row in csv.DictReader(io.StringIO(text))}


def test_edits_have_a_row_for_each_way_and_pictures(report: Path) -> None:
    found = rows(report)
    assert list(found) == WAYS
    assert {row["edit"] for row in found.values()} == {"raise"}
    assert (found["no edit"]["moved.mean"], found["recipe"]["moved.mean"] != "") == ("", True)
    assert float(found["recipe"]["codes_up.mean"]) == pytest.approx(2 * float(found["recipe"]["moved.mean"]), abs=1e-4)
    assert float(found["recipe"]["change.mean"]) > 0
    page = (report / "report.html").read_text()
    assert "edits as their recipes say" in page
    assert read_photo(report / "models/tiny/edits/p0.png").pixels.shape == (32, 3 * 32, 3)


def test_scores_of_edits_are_those_of_what_edit_writes(
    report: Path, crops: Path, recipe: Path, tiny_card: Path, tmp_path: Path
) -> None:
    asked = {"recipe": [], "edited-pass": ["--mask", "edited"], "poisson": ["--technique", "poisson"]}
    for way, more in asked.items():
        out = tmp_path / way
        options = ("--aligned", "--recipe", recipe, "--model", tiny_card, "--batch-size=2", "--quiet")
        done = call_here("edit", crops, "-o", out, *options, *more)
        assert done.returncode == 0, done.stderr
        errors = []
        for n in range(3):
            photo, edited = (read_photo(p / f"p{n}.png").pixels for p in (crops, out / "composites"))
            outside = 1 - part_weight(parse([photo])[0], (*FACE_PARTS, "hair"), 32)[..., None].astype(np.float64)
            photo, edited = photo.astype(float), edited.astype(float)
            errors.append((np.abs(photo - edited) / 127.5 * outside).sum() / (3 * outside.sum()))
        assert float(rows(report)[way]["outside.mean"]) == pytest.approx(np.mean(errors), rel=1e-5)


def test_blends_are_variants_of_the_composite_alone(report: Path) -> None:
    def means(target: str) -> dict[str, str]:
        text = (report / f"scores-{target}.csv").read_text()
        return {row["variant"]: row["psnr.mean"] for row in csv.DictReader(io.StringIO(text))}

    assert list(means("composite")) == ["full", "laplacian", "poisson"]
    assert len(set(means("composite").values())) == 3
    assert list(means("generated")) == list(means("in-domain")) == ["full"]


def test_a_network_that_only_a_person_may_fetch_leaves_its_column_empty(report: Path) -> None:
    text = (report / "scores.md").read_text()
    for words in ("FID is not measured: fid-inception", "pt_inception-2015-12-05-6726825d.pth", "github.com/mseitzer",
                  "ID (ArcFace) is not measured: arcface-ir-se50", "model_ir_se50.pth"):  # fmt: skip
        assert words in text
    row = next(csv.DictReader(io.StringIO((report / "scores-composite.csv").read_text())))
    assert (row["fid.mean"], row["identity_arcface.mean"]) == ("", "")


def test_identity_by_arcface_needs_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network with drawn values: the same picture has similarity 1, another one less; its absence is no error."""
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.manual_seed(0)
    with torch.inference_mode():
        features = arcface(Recognition().eval(), pictures, 1.0)
    assert features.shape == (2, 512)
    torch.testing.assert_close(identity(features, features), torch.ones(2, dtype=torch.float64))
    assert identity(features[:1], features[1:]).item() < 1
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    protocol = {"kind": "benchmark", "name": "t", "title": "t", "protocol": "t", "reference": "crop",
                "metrics": [{"metric": "identity_arcface"}]}  # fmt: skip
    scorer = load_scorer(BenchmarkRecipe.model_validate(protocol), Setting(torch.device("cpu")))
    assert scorer.metrics == ()
    assert len(scorer.notes) == 1
