"""Reads the output folders of `invert` and `edit`, so that nothing is computed twice."""

import re
import zipfile
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.compose import DYE_KEY, PARTS_KEY, UNEDITED_MASK
from oodinv.compositing.composition import Composition
from oodinv.compositing.regions.base import FlowKind
from oodinv.errors import ImageError, ManifestError, RecipeError
from oodinv.faces.parts import PARTS
from oodinv.imaging.decode import read_photo
from oodinv.imaging.encode import OutputFormat
from oodinv.imaging.pixels import Pixels
from oodinv.runs import manifest
from oodinv.runs.manifest import Entry, Header
from oodinv.runs.sources.base import Job
from oodinv.weights.reading.damage import ARCHIVE_DAMAGE, NUMPY_DAMAGE

Arrays = dict[str, NDArray[Any]]

MAX_ARRAY_BYTES = 1 << 30
"""Largest uncompressed size of an .npz archive, against decompression bombs; a face of 1024 px takes some 10 MiB."""
_LEADING: dict[str, tuple[int, ...]] = {
    "mask": (),
    UNEDITED_MASK: (),
    PARTS_KEY: (),
    **dict.fromkeys(get_args(FlowKind), (2,)),
}
"""Arrays of a flows file that are square, of any side, and the dimensions before the two of the square."""


@dataclass(frozen=True)
class SavedFace:
    """One result: its name below the output folders, and the name of its crop, shared by all results of a sweep."""

    name: str
    crop: str


@dataclass(frozen=True)
class Results:
    """An output folder: its manifest's header, the entries of finished photos by name, and how many photos failed."""

    path: Path
    header: Header
    entries: dict[str, Entry]
    failed: int = 0

    @property
    def suffixes(self) -> list[str]:
        """Suffixes that result names append to the crop's name: one for each strength of a sweep."""
        return [str(suffix) for suffix in self.header.settings.get("suffixes", [""])]

    @property
    def model(self) -> str:
        """Name of the model that made the results."""
        return str(self.header.card.get("name"))

    @property
    def recipe(self) -> str | None:
        """Summary of the edit recipe; None without a recipe."""
        described = self.header.settings.get("summary")
        return None if described is None else str(described)

    @property
    def composition(self) -> Composition:
        """Composition settings of the run's composites: from its recipe, or the defaults.

        Raises:
            ManifestError: this version doesn't know the composition in the manifest.
        """
        recipe = self.header.settings.get("recipe")
        found = recipe.get("compose", {}) if isinstance(recipe, dict) else {}
        return self._composition(self.header.settings.get("composition", found))

    @property
    def pasted_composition(self) -> Composition:
        """Composition settings of the run's pasted photos: for `invert`, colour is the value of --colour.

        Raises:
            ManifestError: see `composition`.
        """
        pasted = self.header.settings.get("pasted")
        if pasted is not None:
            return self._composition(pasted)
        if self.header.command == "invert":
            return self._composition({"colour": self.header.settings.get("colour", 0.0)})
        return self.composition

    @property
    def output_format(self) -> OutputFormat:
        """File format of the run's pasted photos.

        Raises:
            ManifestError: this version doesn't know the format.
        """
        record = self.header.settings.get("format", {})
        try:
            return OutputFormat(**record)
        except (TypeError, ValueError) as error:
            raise ManifestError(f"{self.path}: its {manifest.FILE_NAME} holds no format of photos: {error}") from error

    def _composition(self, record: object) -> Composition:
        try:
            return Composition.model_validate(record)
        except ValueError as error:
            raise ManifestError(
                f"{self.path}: its {manifest.FILE_NAME} holds no composition that this version knows; make it again"
            ) from error

    def jobs(self) -> tuple[list[Job], int]:
        """Returns a job for each finished photo, and the number of missing photos, whose jobs read a crop instead."""
        found, gone = [], 0
        for name, entry in self.entries.items():
            path, crop = self.photo(entry), self.path / f"aligned/{self.crops(entry)[0]}.png"
            gone += path is None
            found.append(Job(path or crop, name, frame=entry.frame, crop=crop, photo_sha256=entry.sha256))
        return found, gone

    def photo(self, entry: Entry) -> Path | None:
        """Finds the photo of an entry; None if missing. Relative paths are also tried from the folder's parent."""
        return next((path for path in (Path(entry.input), self.path.parent / entry.input) if path.is_file()), None)

    def crops(self, entry: Entry) -> list[str]:
        """Lists the names of a photo's crops from left to right."""
        start, end = "aligned/", ".png"
        return [o[len(start) : -len(end)] for o in entry.outputs if o.startswith(start) and o.endswith(end)]

    def faces(self, entry: Entry) -> list[SavedFace]:
        """Lists a photo's results by crop, then by strength in the order of the recipe."""
        return [SavedFace(crop + suffix, crop) for crop in self.crops(entry) for suffix in self.suffixes]

    def all_faces(self) -> Iterator[SavedFace]:
        """Yields the results of all photos, sorted by name: in the manifest, retried photos come last."""
        for name in sorted(self.entries):
            yield from self.faces(self.entries[name])


def is_inversion(folder: Path) -> bool:
    """True if a folder holds a manifest of `oodinv invert`."""
    return manifest.command_of(folder) == "invert"


def last_inversion(folder: Path) -> Path | None:
    """Finds the inversion in a folder: its sub-folder `out`, or else the one with the newest manifest."""
    if is_inversion(folder / "out"):
        return folder / "out"
    found = [path.parent for path in folder.glob(f"*/{manifest.FILE_NAME}") if is_inversion(path.parent)]
    return max(found, key=lambda path: (path / manifest.FILE_NAME).stat().st_mtime, default=None)


def open_results(folder: Path, commands: tuple[str, ...]) -> Results:
    """Opens the output folder of one of these commands.

    Raises:
        ManifestError: it was not written by these commands, or contains no finished photo.
    """
    found = manifest.read_all(folder)
    made = " or ".join(f"`oodinv {command}`" for command in commands)
    if found is None:
        raise ManifestError(f"{folder} has no {manifest.FILE_NAME}; expected an output folder of {made}")
    header, entries = found
    if header.command not in commands:
        raise ManifestError(f"{folder} was written by `oodinv {header.command}`; expected one of {made}")
    done = {name: entry for name, entry in entries.items() if entry.status == "done"}
    if not done:
        raise ManifestError(f"{folder} holds no finished photo; see the reasons in its {manifest.FILE_NAME}")
    return Results(folder, header, done, len(entries) - len(done))


def read_arrays(path: Path, command: str) -> Arrays:
    """Reads the arrays of an .npz file; error messages name `command` as the one that writes it.

    Raises:
        ImageError: it is missing, damaged, or contains values other than finite numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
                raise ImageError(f"{path}: expands to more than {MAX_ARRAY_BYTES >> 20} MiB; run `{command}` again")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: np.asarray(file[key]) for key in file.files}
    except FileNotFoundError as error:
        raise ImageError(f"{path}: is not there; run `{command}` with latents and flows among --save") from error
    except (OSError, KeyError, *ARCHIVE_DAMAGE, *NUMPY_DAMAGE) as error:
        raise ImageError(f"{path}: is damaged ({error}); run `{command}` again") from error
    for key, array in arrays.items():
        if array.dtype != np.uint8 and not (np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all()):
            raise ImageError(f"{path}: {key} contains values other than finite numbers; run `{command}` again")
    return arrays


def read_flows(path: Path, command: str, needed: Set[str] = frozenset()) -> Arrays:
    """Reads the flows, masks and label map of a face, each of the shape that its key stands for.

    Floats: flow_S (2, S, S), mask_S (1, S, S), mask and unedited_mask (H, H), the edit flows turn and motion (2, s, s).
    dye (4,), and uint8 parts (s, s), indices in `faces.parts.PARTS`. needed: keys that must be there.

    Raises:
        ImageError: it can't be read (see `read_arrays`), lacks an array, or holds one of another shape, type or range.
    """
    arrays = read_arrays(path, command)
    if missing := sorted(needed - set(arrays)):
        raise ImageError(f"{path}: has no {', '.join(missing)}; run `{command}` again, with this model")
    for key, array in arrays.items():
        shape = _shape_of(key, array)
        is_map = key == PARTS_KEY
        if shape is not None and (array.shape != shape or (array.dtype == np.uint8) != is_map):
            raise ImageError(
                f"{path}: expected {key} as {'uint8' if is_map else 'floats'} {shape}, found {array.dtype} "
                f"{array.shape}; run `{command}` again"
            )
        if is_map and array.max() >= len(PARTS):
            raise ImageError(
                f"{path}: expected indices up to {len(PARTS) - 1} in {key}, found {array.max()}; run `{command}` again"
            )
    return arrays


def _shape_of(key: str, array: NDArray[Any]) -> tuple[int, ...] | None:
    """Shape of an array of a flows file by its key, which may leave the side open; None for unknown keys."""
    if match := re.fullmatch(r"(flow|mask)_(\d{1,5})", key):
        return (2 if match[1] == "flow" else 1, int(match[2]), int(match[2]))
    if key == DYE_KEY:
        return (4,)
    if key not in _LEADING:
        return None
    side = max(array.shape[-1:], default=0) or 1
    return (*_LEADING[key], side, side)


def read_latents(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Reads the codes of a face that edits start from, float32 (num_ws, w_dim): its pivot, else its w_plus.

    Raises:
        ImageError: it can't be read, or has another shape.
    """
    arrays = read_arrays(path, "oodinv invert")
    key = "pivot" if "pivot" in arrays else "w_plus"
    found = arrays.get(key)
    if found is None or found.shape != shape:
        has = "no w_plus" if found is None else f"{key} of shape {found.shape}"
        raise ImageError(f"{path}: expected {key} of shape {shape}, found {has}; invert again with this model")
    return found.astype(np.float32)


def read_person(results: Results, shape: tuple[int, int], person: str) -> NDArray[np.float32]:
    """Reads another person's codes (num_ws, w_dim), given as a latents file or as the name of a face in the results.

    Raises:
        RecipeError: no such file or face. ImageError: the latents can't be read or have another shape.
    """
    own = results.path / f"latents/{person}.npz"
    path = Path(person) if person.endswith(".npz") else own
    if not path.is_file():
        names = [crop for entry in results.entries.values() for crop in results.crops(entry)]
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise RecipeError(
            f"there is no person {person} in {results.path}; name a latents file (.npz), or one of {shown}"
        )
    return read_latents(path, shape)


def read_picture(path: Path, command: str) -> Pixels:
    """Reads a saved picture as uint8 (H, W, 3).

    Raises:
        ImageError: it is missing or damaged.
    """
    if not path.is_file():
        raise ImageError(f"{path}: is not there; run `{command}` again, without leaving it out of --save")
    return read_photo(path).pixels
