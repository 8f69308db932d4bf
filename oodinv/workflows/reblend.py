"""Composing again from saved files: no network runs, so another technique costs milliseconds a photo."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.compose import Drawn, compose, compose_edit, movement, movement_of
from oodinv.compositing.paste_back import Edit
from oodinv.errors import ImageError
from oodinv.faces.align import read_placement
from oodinv.imaging.decode import read_photo
from oodinv.imaging.pixels import Flow, Levels, Pixels, resize_pixels, rounded
from oodinv.imaging.provenance import Provenance
from oodinv.recipe.edit import Composition
from oodinv.runs.manifest import Entry
from oodinv.runs.pipeline import WRITERS
from oodinv.runs.results import Face, Results, read_arrays, read_picture
from oodinv.runs.runner import Event, Finished, Started, made_anew
from oodinv.runs.sinks import write_pasted, write_png_composite


def recompose(results: Results, composition: Composition, paste: bool) -> Iterator[Event]:
    """Replaces the composites of a folder, and with `paste` the pasted photos; yields an event a photo.

    A photo with missing parts fails alone.

    Raises:
        OutputError: the folder can't be written.
    """
    entries = list(results.entries.values())
    yield Started(len(entries), 0)
    with ThreadPoolExecutor(WRITERS) as pool:
        yield from map(
            Finished, pool.map(partial(made_anew, make=partial(_write, results, composition, paste)), entries)
        )


def _write(results: Results, composition: Composition, paste: bool, entry: Entry) -> Iterator[str]:
    made = Provenance(model=results.model, recipe=results.recipe)
    edits: dict[str, list[Edit]] = {suffix: [] for suffix in results.suffixes}
    for face in results.faces(entry):
        before, after, flow = _compose(results, face, composition)
        yield write_png_composite(results.path, face.name, after, made)
        if paste:
            quad = _quad(results, face)
            edits[face.name.removeprefix(face.crop)].append(Edit(quad, before, after, flow))
    if paste:
        path = results.photo(entry)
        if path is None:
            raise ImageError(f"{entry.input}: the photo is not there any more; put it back, or leave out --paste")
        photo = read_photo(path, deep=True)
        for suffix, changes in edits.items():
            yield write_pasted(photo, changes, results.path, entry.name + suffix, made)


def _quad(results: Results, face: Face) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    path = results.path / f"aligned/{face.crop}.json"
    if results.header.settings.get("aligned"):
        raise ImageError(f"{results.path} was made of crops, which belong into no photo; leave out --paste")
    return read_placement(path).quad


def _compose(results: Results, face: Face, composition: Composition) -> tuple[Pixels, Pixels, Flow | None]:
    """Composite without and with the edit, and what moves along; an inversion's first is the crop itself."""
    folder, command = results.path, f"oodinv {results.header.command}"
    pixels = resize_pixels(read_picture(folder / f"aligned/{face.crop}.png", command), int(results.header.card["size"]))
    crop, generated = (_levels(p) for p in (pixels, read_picture(folder / f"generated/{face.name}.png", command)))
    arrays = read_arrays(folder / f"flows/{face.name}.npz", command)
    name = movement_of(composition)
    mask, saved = arrays.get("mask"), None if name is None else arrays.get(name)
    if mask is None or mask.shape != crop.shape[:2] or not (saved is None or _is_flow(saved)):
        raise ImageError(f"{folder}/flows/{face.name}.npz: has no mask or movement that fits; run `{command}` again")
    mask = mask.astype(np.float32)
    if results.header.command == "invert":
        return pixels, rounded(compose(crop, generated, mask, composition)), None
    unedited = _levels(read_picture(folder / f"unedited/{face.crop}.png", command))
    before = compose(crop, unedited, mask, composition)
    scale = float(results.header.card["crop"]["scale"])
    if saved is None:
        moved = movement(unedited, generated, mask, composition, scale)
    else:
        moved = saved.transpose(1, 2, 0).astype(np.float32)
    after, flow = compose_edit(Drawn(crop, unedited, generated, mask, moved), before, composition, scale)
    return rounded(before), rounded(after), flow


def _is_flow(array: NDArray[np.floating]) -> bool:
    """Whether an array is a movement (2, S, S)."""
    return array.ndim == 3 and array.shape[0] == 2 and array.shape[1] == array.shape[2] > 0


def _levels(pixels: Pixels) -> Levels:
    return pixels.astype(np.float32)
