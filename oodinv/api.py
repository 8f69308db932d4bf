"""The Python interface: inverts and edits single photos in memory.

    editor = oodinv.load()
    editor.edit("photo.jpg", "smile").save("smiling.jpg")

Photos are file paths, arrays uint8 (H, W, 3) in RGB, or PIL images. Folders, resuming and
several processes are features of the command line.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps

from oodinv import device as devices
from oodinv.compositing.composition import Composition
from oodinv.compositing.paste_back import Patch
from oodinv.editing.apply import Editor, InvertedFace
from oodinv.editing.plan import prepare
from oodinv.errors import ImageError, NoFaceError, RecipeError
from oodinv.faces.align import align
from oodinv.faces.crop import square_crop
from oodinv.faces.detectors import load_detector
from oodinv.faces.detectors.base import Detector
from oodinv.faces.selection import ALL, Selection
from oodinv.faces.upright import settled
from oodinv.fitting.refinement import Refiner, refiner_for
from oodinv.fitting.tuning import Tuner, tuner_for
from oodinv.imaging.decode import decode_photo, read_photo
from oodinv.imaging.encode import write_photo
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import Pixels, rounded
from oodinv.imaging.provenance import Provenance
from oodinv.inversion import DTYPES, Artefacts, Dtype, Subject, artefacts, in_halves, invert, parse
from oodinv.recipe.edit import EditRecipe, find_edit_recipe, read_edit_recipe
from oodinv.runs.sinks.photo import pasted
from oodinv.weights.build import Model, load_named
from oodinv.weights.pull import pull
from oodinv.workflows.invert import composed

PhotoLike: TypeAlias = str | os.PathLike[str] | Pixels | Image.Image

_BATCH = 4  # faces of one photo that are computed together

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Result:
    """An inverted or edited photo, and the results of each of its faces.

    original, photo: the upright photo before and after, with its metadata. faces: from left to right; each has
    w_plus float32 (num_ws, w_dim), `generated` and `composite` uint8 (S, S, 3), `mask` uint8 (S, S) with 255 = copied
    from the photo, `flows`, and in `subject` the crop and its quad. made: model and recipe, as saved pictures state.
    """

    original: Photo
    photo: Photo
    faces: tuple[Artefacts, ...]
    made: Provenance

    @property
    def pasted(self) -> Pixels:
        """The whole photo with the results in it, uint8 (H, W, 3)."""
        return self.photo.pixels

    def image(self) -> Image.Image:
        """The whole photo with the results in it, as an RGB image of PIL."""
        return Image.fromarray(self.photo.pixels)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the photo as .png or .jpg, with the EXIF data and colour profile of its file; returns the path.

        XMP states that parts of it were generated, by which model and recipe.

        Raises:
            ImageError: another suffix, or transparency in a JPEG. OutputError: the file can't be written.
        """
        target = Path(path)
        write_photo(target, self.photo)
        return target


@dataclass(frozen=True, eq=False)
class PhotoEditor:
    """A model and a face detector, loaded once and used for many photos; see `oodinv.load`."""

    model: Model
    detector: Detector
    device: torch.device
    dtype: Dtype
    refiner: Refiner | None = None
    tuner: Tuner | None = None

    def invert(
        self,
        photo: PhotoLike,
        *,
        aligned: bool = False,
        colour: float = 1.0,
        selection: Selection = ALL,
    ) -> Result:
        """Inverts the faces of a photo.

        aligned: the photo is a square crop already; nothing is detected, and the pasted photo is the composite.
        colour: fraction of the photo's colour and light to transfer to pasted faces, 0 to 1. selection: which faces.

        Raises:
            ImageError: the photo can't be read, or isn't square with `aligned`. NoFaceError: no face was found.
            ValueError: colour is out of range. TypeError: selection is something else.
        """
        _check_number("colour", colour, 0, 1)
        _check_selection(selection)
        source, name = _photo(photo)
        if isinstance(photo, str | os.PathLike) and not aligned:
            path = Path(photo)
            source = settled(source, self.detector, lambda n: read_photo(path, deep=True, orientation=n))
        subjects = self._crops(source, name, selection) if not aligned else [self._whole(source, name)]

        def compute(batch: list[Subject]) -> list[Artefacts]:
            crops = torch.stack([subject.tensor() for subject in batch]).to(self.device)
            inversion = invert(self.model, crops, dtype=DTYPES[self.dtype], refiner=self.refiner)
            return artefacts(batch, inversion, parse([subject.crop for subject in batch]))

        found = self._in_batches(subjects, compute)
        faces = tuple(replace(face, composite=composed(face, Composition())) for face in found)
        made = Provenance(model=self.model.card.name)
        if aligned:
            return Result(source, pasted(Photo(faces[0].composite), [], made), faces, made)
        patches = [
            Patch(face.subject.aligned.quad, face.subject.crop, composed(face, Composition(colour=colour)))
            for face in faces
            if face.subject.aligned is not None
        ]
        return Result(source, _with_levels(pasted(source, patches, made)), faces, made)

    def edit(
        self,
        photo: PhotoLike | Result,
        recipe: str | os.PathLike[str] | EditRecipe,
        *,
        strength: float = 1.0,
        force: bool = False,
        aligned: bool = False,
        selection: Selection = ALL,
    ) -> Result:
        """Edits the faces of a photo, or of a result of `invert`, which is not inverted again.

        recipe: the name of a recipe, a FILE.yaml, or an `EditRecipe`. strength: multiplies the recipe's strengths.
        force: allow strengths outside a direction's safe range. aligned, selection: see `invert`.

        Raises:
            RecipeError: the recipe can't be read, doesn't fit the model, or produces several results. ValueError:
            strength is no finite number. ImageError, NoFaceError, TypeError: as `invert`.
        """
        _check_number("strength", strength)
        _check_selection(selection)
        read, path = _recipe(recipe)
        if read.sweeps:
            raise RecipeError(f"{path} asks for several results; call `edit` once for each strength")
        plan = prepare(read, path, self.model, [strength], force=force)
        inverted = photo if isinstance(photo, Result) else self.invert(photo, aligned=aligned, selection=selection)
        if inverted.made.recipe is not None:
            raise RecipeError(
                f"the result was edited already ({inverted.made.recipe}); edit what `invert` returned, with a recipe "
                "that names all directions"
            )
        tuner = self.tuner if read.tune is None else tuner_for(self.model, read.tune)
        editor = Editor(self.model, self.device, self.dtype, "fixed", _BATCH, read, plan, tuner)
        edited = editor.edit([InvertedFace.of(face) for face in inverted.faces])
        faces = tuple(
            replace(face.results[0], subject=before.subject)
            for face, before in zip(edited, inverted.faces, strict=True)
        )
        made = replace(inverted.made, recipe=plan.summary)
        if inverted.faces[0].subject.aligned is None:
            return Result(inverted.original, pasted(Photo(faces[0].composite), [], made), faces, made)
        patches = [
            Patch(face.face.placement.quad, face.before, face.results[0].composite, face.flows[0])
            for face in edited
            if face.face.placement is not None
        ]
        return Result(inverted.original, _with_levels(pasted(inverted.original, patches, made)), faces, made)

    def _crops(self, photo: Photo, name: str, selection: Selection) -> list[Subject]:
        card = self.model.card
        try:
            found = align(photo.pixels, self.detector, card.size, card.crop.quad, selection).faces
        except NoFaceError as error:
            raise NoFaceError(f"{name}: {error}") from error
        return [Subject(str(number), face.crop, face) for number, face in enumerate(found)]

    def _whole(self, photo: Photo, name: str) -> Subject:
        return Subject("0", square_crop(photo.pixels, self.model.card.size, Path(name)), None)

    def _in_batches(self, faces: list[T], compute: Callable[[list[T]], list[R]]) -> list[R]:
        size = self.model.card.size
        return [
            result
            for start in range(0, len(faces), _BATCH)
            for result in in_halves(faces[start : start + _BATCH], compute, self.device, size)
        ]


def load_editor(
    name: str | os.PathLike[str],
    device: str,
    dtype: Dtype,
    detector: str,
    refine: int | None = None,
    tune: int | None = None,
) -> PhotoEditor:
    """Loads a model and a face detector; see `oodinv.load`."""
    if dtype not in DTYPES:
        raise ValueError(f"no number format is named {dtype!r}; there are {', '.join(DTYPES)}")
    for option, steps in (("refine", refine), ("tune", tune)):
        if steps is not None and (type(steps) is not int or steps < 0):
            raise ValueError(f"{option} is a number of steps from 0, and not {steps!r}")
    chosen = devices.choose(device)
    model, found = load_named(os.fspath(name)).to(chosen), load_detector(detector, pull, str(chosen))
    return PhotoEditor(model, found, chosen, dtype, refiner_for(model, refine), tuner_for(model, tune))


def _check_number(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    """Raises `ValueError` for what is no finite number between two bounds."""
    if not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        expected = "a finite number" if low == -math.inf else f"between {low:g} and {high:g}"
        raise ValueError(f"{name} is {expected}, and not {value!r}")


def _check_selection(selection: Selection) -> None:
    if not isinstance(selection, Selection):
        raise TypeError(f'selection is a Selection, such as Selection(faces="largest"), and not {selection!r}')


def _photo(photo: PhotoLike) -> tuple[Photo, str]:
    """Decodes a photo; returns also its name for errors."""
    if isinstance(photo, Image.Image):
        name = str(getattr(photo, "filename", "") or "the PIL image")
        return _from_pil(photo, name), name
    if isinstance(photo, str | os.PathLike):
        return read_photo(Path(photo), deep=True), str(photo)
    if not isinstance(photo, np.ndarray):
        raise ImageError(f"a photo is a path, an array or a PIL image, and not {type(photo).__name__}")
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
        raise ImageError(
            f"the array: expected uint8 of shape (H, W, 3) in RGB, found {photo.dtype} of shape {photo.shape}; convert "
            "it first"
        )
    return Photo(np.ascontiguousarray(photo)), "the array"


def _from_pil(picture: Image.Image, name: str) -> Photo:
    """Passes a PIL image through the decoder as an uncompressed TIFF, which supports every mode."""
    content = BytesIO()
    try:
        shown = ImageOps.exif_transpose(picture)
        shown = shown.convert("RGBA") if shown.has_transparency_data else shown
        shown.save(content, "TIFF", icc_profile=shown.info.get("icc_profile"))
    except (OSError, SyntaxError, ValueError, LookupError) as error:
        raise ImageError(f"{name}: can't be used ({error}); convert it to RGB first") from error
    return decode_photo(content.getvalue(), Path(name))


def _recipe(recipe: str | os.PathLike[str] | EditRecipe) -> tuple[EditRecipe, Path]:
    """Reads a recipe and returns it with its path; a recipe built in Python is given a path in the current folder."""
    if isinstance(recipe, EditRecipe):
        return recipe, Path("recipe")
    if not isinstance(recipe, str | os.PathLike):
        raise RecipeError(f"a recipe is a name, a FILE.yaml or an EditRecipe, and not {type(recipe).__name__}")
    path = find_edit_recipe(os.fspath(recipe))
    return read_edit_recipe(path), path


def _with_levels(photo: Photo) -> Photo:
    """Derives the photo's 8-bit pixels from those of 16 bits per channel, if it has them."""
    if photo.deep is None:
        return photo
    return replace(photo, pixels=rounded((photo.deep[..., :3] / 257).astype(np.float32)))
