"""Calibration of units on generated pictures, and edits with insufficient memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tolerances import LEVEL

from oodinv.directions import calibrate, generated
from oodinv.directions.faces import MeasuredFaces
from oodinv.directions.fit import Fitted, fit
from oodinv.editing import apply as editing
from oodinv.editing.apply import inverted_faces
from oodinv.editing.plan import prepare
from oodinv.errors import OodinvError
from oodinv.faces.detectors.base import Face
from oodinv.imaging.pixels import Pixels
from oodinv.inversion import in_halves, invert
from oodinv.models.encoders.base import Encoding
from oodinv.recipe.card import read_card
from oodinv.recipe.directions import DirectionSpec
from oodinv.recipe.edit import EditRecipe
from oodinv.weights.build import Model, load_model


@pytest.fixture(scope="module")
def model(tiny_card: Path) -> Model:
    return load_model(read_card(tiny_card), tiny_card)


@pytest.fixture(scope="module")
def fitted(model: Model) -> Fitted:
    """Direction whose attribute is one element of the code."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(400, model.generator.num_ws, 2)).astype(np.float32)
    codes = np.concatenate([codes, np.zeros((400, model.generator.num_ws, 14), np.float32)], axis=2)
    faces = MeasuredFaces(tuple(map(str, range(400))), codes, {}, np.arange(400) % 4 == 0)
    wanted = DirectionSpec(name="d", source="s", attribute="a")
    return fit(faces, {"a": codes[:, 0, 0].astype(np.float64)}, wanted, (), "tiny")


def arriving(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Replaces the generator by the identity, and the encoder by a multiplication with `share`."""
    monkeypatch.setattr(generated, "synthesize", lambda _generator, w_plus, _noise: w_plus / 100)
    monkeypatch.setattr(calibrate, "encode", lambda _model, images: Encoding(images * 100 * share, {}))


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0, 1.6])
def test_a_direction_is_divided_by_the_fraction_that_pictures_show(
    model: Model, fitted: Fitted, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    arriving(monkeypatch, share)
    codes = np.random.default_rng(1).normal(size=(20, *fitted.direction.vector.shape)).astype(np.float32)
    found = calibrate.calibrate(fitted, model, codes).direction
    torch.testing.assert_close(found.vector, fitted.direction.vector / share, rtol=1e-3, atol=1e-6)
    assert found.safe_range == fitted.direction.safe_range
    assert "pictures" in found.unit


class NoFaceDetector:
    """Detector that finds no face."""

    def detect(self, pixels: Pixels) -> list[Face]:  # noqa: ARG002
        return []


@pytest.mark.parametrize(
    "known",
    [{}, {"smile": np.full(400, np.nan)}, {"smile": np.where(np.arange(400) == 1, np.nan, np.arange(400) / 400)}],
    ids=["pictures", "unmeasured", "photos"],
)
def test_a_measure_of_pictures_calibrates_its_direction(
    model: Model, monkeypatch: pytest.MonkeyPatch, known: dict[str, NDArray[np.float64]]
) -> None:
    """The measure is 0.3 times the first element of a code; the label has noise of the same size.

    A strength of 1 changes the measure by its standard deviation over the photos, if that is known.
    """
    rng = np.random.default_rng(0)
    shape = (model.generator.num_ws, model.generator.w_dim)
    codes = rng.normal(size=(400, *shape)).astype(np.float32)
    monkeypatch.setattr(
        generated, "measured", lambda _model, w_plus, _detector: {"drawn_smile": 0.3 * w_plus[:, 0, 0].numpy()}
    )
    labels = {"drawn_smile": 0.3 * codes[:, 0, 0].astype(np.float64) + rng.normal(scale=0.3, size=400)}
    labels |= known
    faces = MeasuredFaces(tuple(map(str, range(400))), codes, {}, np.arange(400) % 4 == 0)
    fitted = fit(faces, labels, DirectionSpec(name="d", source="s", attribute="drawn_smile"), (), "tiny")
    found = calibrate.calibrate(fitted, model, codes, NoFaceDetector())
    seen = known["smile"] if "smile" in known and np.isfinite(known["smile"]).any() else labels["drawn_smile"]
    spread = np.nanstd(seen[np.arange(400) % 4 != 0])
    low, high = np.percentile(labels["drawn_smile"][np.arange(400) % 4 != 0], [1, 99])
    assert found.direction.safe_range is not None
    assert found.direction.safe_range[1] - found.direction.safe_range[0] == pytest.approx(
        (high - low) / spread, abs=0.02
    )
    assert 0.3 * found.direction.vector[0, 0].item() == pytest.approx(spread, rel=1e-3)
    assert found.direction.unit.startswith("one standard deviation of smile measured on generated pictures")
    with pytest.raises(ValueError, match="detector"):
        calibrate.calibrate(fitted, model, codes)


def test_a_direction_that_pictures_do_not_show_is_not_rescaled(
    model: Model, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    arriving(monkeypatch, 0.05)
    found = calibrate.calibrate(fitted, model, np.zeros((4, *fitted.direction.vector.shape), np.float32)).direction
    assert found.vector is fitted.direction.vector
    assert found.unit == fitted.direction.unit
    assert "5%" in found.method


def test_edit_halves_its_batches_if_memory_is_insufficient(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)
    found = invert(model, torch.from_numpy(crops).permute(0, 3, 1, 2) / 127.5 - 1)
    faces = inverted_faces(list(crops), found)
    recipe = EditRecipe.model_validate({"truncation": 0.5})
    edits = prepare(recipe, Path("half.yaml"), model, [1.0])
    run = editing.Editor(model, torch.device("cpu"), "float32", "fixed", 5, recipe, edits)
    whole = run.edit(faces)
    decode, sizes = editing.decode, []

    def small(model, crops, *arguments):  # type: ignore[no-untyped-def]
        sizes.append(len(crops))
        if len(crops) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(model, crops, *arguments)

    monkeypatch.setattr(editing, "decode", small)
    room = 2
    halved = run.edit(faces)
    assert sizes == [5, 2, 2, 3, 1, 1, 2, 2]
    for a, b in zip(whole, halved, strict=True):
        assert a.face is b.face
        np.testing.assert_allclose(a.results[0].composite.astype(int), b.results[0].composite.astype(int), atol=LEVEL)
    room = 0
    with pytest.raises(OodinvError, match="single face"):
        run.edit(faces)


def test_other_errors_are_not_taken_for_insufficient_memory() -> None:
    def fails(_faces: list[int]) -> list[int]:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        in_halves([1, 2], fails, torch.device("cpu"), 32)
