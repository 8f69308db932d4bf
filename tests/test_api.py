"""The Python interface: any form of photo in, the same results as the command line out."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import call_here
from PIL import Image
from tolerances import FLOAT32

import oodinv
from oodinv import PhotoEditor
from oodinv.errors import ImageError, NoFaceError, RecipeError
from oodinv.faces.selection import Selection
from oodinv.recipe.edit import EditRecipe

PORTRAIT = "rishi-sunak.jpg"


AVERAGE = EditRecipe.model_validate({"truncation": 0.5})
"""A recipe that needs no direction, so that it fits every model."""


@pytest.fixture(scope="module")
def shipped() -> PhotoEditor:
    """Of the default model, with its 1024 px."""
    return oodinv.load(device="cpu", refine=0, tune=2)


@pytest.fixture(scope="module")
def editor(tiny_card: Path) -> PhotoEditor:
    """Of a small model, for what does not depend on the model."""
    return oodinv.load(tiny_card, device="cpu")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_importing_the_package_imports_no_torch() -> None:
    script = "import sys, oodinv; oodinv.load; assert not {'torch', 'cv2', 'numpy', 'pydantic'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_package_has_no_other_attributes() -> None:
    assert oodinv.Result.__name__ == "Result"
    with pytest.raises(AttributeError, match="has no attribute 'resutl'"):
        oodinv.resutl  # noqa: B018


def test_results_are_those_of_the_command_line(shipped: PhotoEditor, samples: Path, tmp_path: Path) -> None:
    photo = samples / PORTRAIT
    assert (
        call_here("invert", photo, "-o", tmp_path / "out", "--refine", "0", "--device", "cpu", "--quiet").returncode
        == 0
    )
    assert (
        call_here(
            "edit", tmp_path / "out", "-r", "smile", "-o", tmp_path / "smiling", "--tune", "2", "--quiet"
        ).returncode
        == 0
    )
    inverted = shipped.invert(photo)
    edited = shipped.edit(inverted, "smile")
    for result, folder in ((inverted, "out"), (edited, "smiling")):
        (face,) = result.faces
        name = f"{photo.stem}.png"
        assert np.array_equal(face.composite, pixels(tmp_path / folder / "composites" / name))
        assert np.array_equal(face.generated, pixels(tmp_path / folder / "generated" / name))
        assert np.array_equal(face.mask, pixels(tmp_path / folder / "masks" / name)[..., 0])
        with np.load(tmp_path / folder / "latents" / f"{photo.stem}.npz") as latents:
            assert np.array_equal(face.w_plus, latents["w_plus"])
        saved = result.save(tmp_path / f"{folder}.jpg")
        assert saved.read_bytes() == (tmp_path / folder / "pasted" / f"{photo.stem}.jpg").read_bytes()
    assert not np.array_equal(edited.pasted, inverted.pasted)


def test_a_path_an_array_and_a_pil_image_give_the_same(editor: PhotoEditor, samples: Path) -> None:
    path = samples / PORTRAIT
    expected = editor.edit(path, AVERAGE).pasted
    array = pixels(path)
    assert np.array_equal(editor.edit(str(path), AVERAGE).pasted, expected)
    assert np.array_equal(editor.edit(array, AVERAGE).pasted, expected)
    assert np.array_equal(np.asarray(editor.edit(Image.fromarray(array), AVERAGE).image()), expected)
    assert expected.shape == array.shape
    assert not np.array_equal(expected, array)


def test_a_pil_image_is_used_upright(editor: PhotoEditor, samples: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pixels(samples / PORTRAIT))).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        assert np.array_equal(editor.invert(turned).pasted, editor.invert(samples / PORTRAIT).pasted)


def test_transparency_and_profile_of_a_pil_image_are_kept(editor: PhotoEditor, samples: Path, tmp_path: Path) -> None:
    with Image.open(samples / PORTRAIT) as photo:
        picture = photo.convert("RGBA")
    picture.putalpha(120)
    editor.invert(picture).save(tmp_path / "clear.png")
    with Image.open(tmp_path / "clear.png") as saved:
        assert saved.mode == "RGBA"
        assert saved.getextrema()[3] == (120, 120)


def test_strength_multiplies_and_recipes_can_be_built_in_python(shipped: PhotoEditor, samples: Path) -> None:
    inverted = shipped.invert(samples / PORTRAIT)
    built = EditRecipe.model_validate({"edits": [{"direction": "age", "strength": 0.5}]})
    twice = shipped.edit(inverted, built, strength=2).faces[0].w_plus
    once = shipped.edit(inverted, built).faces[0].w_plus
    start = inverted.faces[0].w_plus
    assert np.allclose(twice - start, 2 * (once - start), atol=FLOAT32)
    assert np.abs(once - start).max() > 0.01


def test_a_crop_is_used_whole(editor: PhotoEditor, samples: Path) -> None:
    crop = editor.invert(samples / PORTRAIT).faces[0].subject.crop
    edited = editor.edit(crop, AVERAGE, aligned=True)
    assert edited.pasted.shape == crop.shape
    assert np.array_equal(edited.pasted, edited.faces[0].composite)
    with pytest.raises(ImageError, match="square"):
        editor.invert(crop[:16], aligned=True)


def test_a_photo_of_16_bits_keeps_them(editor: PhotoEditor, samples: Path, tmp_path: Path) -> None:
    import cv2

    deep = pixels(samples / PORTRAIT).astype(np.uint16) * 257 + 1
    cv2.imwrite(str(tmp_path / "deep.png"), np.minimum(deep, 65535)[..., ::-1])
    result = editor.edit(tmp_path / "deep.png", AVERAGE)
    written = cv2.imread(str(result.save(tmp_path / "edited.png")), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16
    assert np.array_equal(np.rint(written[..., ::-1] / 257).astype(np.uint8), result.pasted)


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "found float32"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        (7, "not int"),
        ("nowhere.jpg", r"nowhere\.jpg: no such file"),
        (Image.new("HSV", (8, 8)), "convert it to RGB"),
    ],
    ids=["float", "grey", "empty", "number", "missing", "mode"],
)
def test_what_is_no_photo_is_refused_by_name(editor: PhotoEditor, photo: object, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        editor.invert(photo)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": None}, TypeError, "not NoneType"),
        ({"model": "ffhq-mobil"}, RecipeError, "did you mean ffhq-mobile"),
        ({"dtype": "float64"}, ValueError, "no number format is named 'float64'; there are float32, bfloat16, float16"),
        ({"refine": -1}, ValueError, "refine is a number of steps from 0, and not -1"),
        ({"refine": "5"}, ValueError, "and not '5'"),
        ({"tune": 1.5}, ValueError, "tune is a number of steps from 0, and not 1.5"),
        ({"device": "gpu"}, ValueError, "unknown device gpu"),
        ({"detector": "yolo"}, ValueError, "no detector is named 'yolo'"),
    ],
)
def test_what_can_not_be_loaded_is_refused_by_name(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        oodinv.load(**arguments)


def test_a_card_is_loaded_by_its_path(tiny_card: Path) -> None:
    assert oodinv.load(tiny_card, device="cpu").model.card.name == oodinv.load(str(tiny_card)).model.card.name == "tiny"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"recipe": None}, RecipeError, "a recipe is a name, a FILE.yaml or an EditRecipe, and not NoneType"),
        ({"recipe": {"truncation": 0.5}}, RecipeError, "and not dict"),
        ({"strength": float("nan")}, ValueError, "strength is a finite number, and not nan"),
        ({"strength": "2"}, ValueError, "and not '2'"),
        ({"strength": 1e9}, RecipeError, "outside its safe range"),
        ({"selection": "largest"}, TypeError, "selection is a Selection"),
    ],
)
def test_arguments_that_no_edit_has_are_refused_by_name(
    shipped: PhotoEditor, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        shipped.edit("nowhere.jpg", **({"recipe": "smile"} | arguments))


@pytest.mark.parametrize("colour", [2, -0.1, float("nan"), "1"])
def test_a_share_of_colour_outside_0_to_1_is_refused_before_any_work(editor: PhotoEditor, colour: Any) -> None:
    with pytest.raises(ValueError, match="colour is between 0 and 1, and not"):
        editor.invert("nowhere.jpg", colour=colour)


@pytest.mark.parametrize("faces", ["smallest", 0, -1, None])
def test_a_selection_of_no_faces_is_refused_by_name(faces: Any) -> None:
    with pytest.raises(ValueError, match="faces is all, largest, or a number from 1, and not"):
        Selection(faces=faces)


def test_a_photo_without_a_face_is_refused_by_name(editor: PhotoEditor) -> None:
    with pytest.raises(NoFaceError, match="the array: no face found"):
        editor.invert(np.full((200, 200, 3), 128, np.uint8))


def test_sweeps_and_second_edits_are_refused(editor: PhotoEditor, samples: Path) -> None:
    sweep = EditRecipe.model_validate({"edits": [{"direction": "age", "strengths": [-1, 1]}]})
    with pytest.raises(RecipeError, match="once for each strength"):
        editor.edit(samples / PORTRAIT, sweep)
    with pytest.raises(RecipeError, match="edited already"):
        editor.edit(editor.edit(samples / PORTRAIT, AVERAGE), AVERAGE)
