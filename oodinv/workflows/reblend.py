"""The `blend` workflow: composites recomputed from saved files without a network, in milliseconds per photo."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.compose import (
    UNEDITED_MASK,
    Composites,
    StoredFace,
    compose,
    compose_stored,
    flow_kind,
    read_dye,
    unedited_composite,
)
from oodinv.compositing.composition import Composition
from oodinv.compositing.paste_back import Patch
from oodinv.editing.parts import parts_of
from oodinv.errors import ImageError
from oodinv.faces.align import read_placement
from oodinv.imaging.colour import matching_colour
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.files import atomic_write
from oodinv.imaging.pixels import Pixels, resize_pixels, rounded
from oodinv.imaging.provenance import Provenance
from oodinv.runs import manifest
from oodinv.runs.manifest import Entry, Header
from oodinv.runs.pipeline import WRITERS, read_bytes
from oodinv.runs.results import Results, SavedFace, read_flows, read_picture
from oodinv.runs.runner import Event, Finished, Started, alone_in, remade
from oodinv.runs.sinks.photo import write_pasted, write_png_composite
from oodinv.runs.sources.base import Job


@dataclass(frozen=True, eq=False)
class Blended:
    """A photo's composed faces.

    pasted: the same faces composed for pasting. content: the bytes of its file; empty if nothing will be pasted.
    """

    job: Job
    faces: list[tuple[SavedFace, Composites]]
    pasted: list[tuple[SavedFace, Composites]]
    content: bytes


@dataclass(frozen=True)
class BlendStages:
    """Recomposes the results of a run of `invert` or `edit`.

    composition: settings for composites. pasted: settings for pasted photos; None to paste nothing.
    """

    results: Results
    composition: Composition
    pasted: Composition | None

    @property
    def made(self) -> Provenance:
        """The provenance that is written into pictures."""
        return Provenance(model=self.results.model, recipe=self.results.recipe)

    def read(self, job: Job, content: bytes) -> Blended:
        """Reads a photo's saved faces and composes them.

        Raises:
            ImageError: a saved file is missing or damaged, or the photo to paste into is missing or has changed.
        """
        entry = self.results.entries[job.name]
        faces = [(face, _compose(self.results, face, self.composition)) for face in self.results.faces(entry)]
        if self.pasted is None:
            return Blended(job, faces, [], b"")
        _check_photo(self.results, job, content)
        pasted = faces
        if self.pasted != self.composition:
            pasted = [(face, _compose(self.results, face, self.pasted)) for face, _ in faces]
        return Blended(job, faces, pasted, content)

    def compute(self, photos: list[Blended]) -> list[Blended]:
        """Returns its input: `read` does all the work."""
        return photos

    def write(self, results: Blended, folder: Path) -> list[str]:
        """Writes composites and, if enabled, pasted photos; into a folder other than the run's, also the crops.

        Raises:
            ImageError, OutputError: a file can't be written.
        """
        outputs: list[str] = []
        if folder.resolve() != self.results.path.resolve():
            outputs += self._copy_crops(results.job, folder)
        for face, composed in results.faces:
            outputs.append(write_png_composite(folder, face.name, composed.after, self.made))
        if self.pasted is not None:
            patches: dict[str, list[Patch]] = {suffix: [] for suffix in self.results.suffixes}
            orientation: int | None = None
            for face, composed in results.pasted:
                placement = read_placement(self.results.path / f"aligned/{face.crop}.json")
                orientation = placement.orientation
                patch = Patch(placement.quad, composed.before, composed.after, composed.detail_flow)
                patches[face.name.removeprefix(face.crop)].append(patch)
            job = results.job
            photo = decode_photo(results.content, job.path, deep=True, frame=job.frame or 0, orientation=orientation)
            for suffix, changes in patches.items():
                outputs.append(
                    write_pasted(
                        photo, changes, folder, results.job.name + suffix, self.made, self.results.output_format
                    )
                )
        return outputs

    def _copy_crops(self, job: Job, folder: Path) -> Iterator[str]:
        for output in self.results.entries[job.name].outputs:
            if output.startswith("aligned/"):
                content = read_bytes(self.results.path / output)
                atomic_write(folder / output, lambda file, content=content: file.write(content))  # type: ignore[misc]
                yield output


def blend_header(stages: BlendStages) -> Header:
    """Builds the manifest header of a `blend` run into a separate folder."""
    source, pasted = stages.results.header, stages.pasted
    settings = {
        **source.settings,
        "composition": stages.composition.model_dump(mode="json"),
        "pasted": None if pasted is None else pasted.model_dump(mode="json"),
        "composed from": source.command,
    }
    return Header(source.oodinv, "blend", source.card, source.weights, settings)


def recompose(stages: BlendStages) -> Iterator[Event]:
    """Replaces composites and, if enabled, pasted photos in the run's folder; yields one event per photo.

    Missing files of one photo don't stop the others.

    Raises:
        OutputError: another run is at work in the folder, or it can't be written.
    """
    results = stages.results
    jobs, _ = results.jobs()
    with alone_in(results.path), ThreadPoolExecutor(WRITERS) as pool:
        yield Started(len(jobs), 0)
        for entry in pool.map(partial(_replace, stages), jobs):
            if entry.status == "done":
                manifest.append(results.path, _updated(results.entries[entry.name], entry, results.path))
            yield Finished(entry)


def _replace(stages: BlendStages, job: Job) -> Entry:
    def make(_: Entry) -> list[str]:
        content = b"" if stages.pasted is None else read_bytes(job.path)
        return stages.write(stages.read(job, content), stages.results.path)

    return remade(stages.results.entries[job.name], make, stages.results.path)


def _updated(before: Entry, after: Entry, folder: Path) -> Entry:
    """Returns the entry of the run with the sizes of replaced files and with added files."""
    outputs = list(dict.fromkeys([*before.outputs, *after.outputs]))
    if before.bytes:
        known = dict(zip(before.outputs, before.bytes, strict=True))
        known |= dict(zip(after.outputs, manifest.sizes(after.outputs, folder), strict=True))
        return replace(before, outputs=outputs, bytes=[known[output] for output in outputs])
    return replace(before, outputs=outputs)


def _check_photo(results: Results, job: Job, content: bytes) -> None:
    """Checks that results can be pasted into their photo.

    Raises:
        ImageError: the results were made from crops, or the photo is missing or has changed.
    """
    entry = results.entries[job.name]
    if results.header.settings.get("aligned"):
        raise ImageError(f"{results.path} was made from crops, so there is no photo to paste into; leave out --paste")
    if results.photo(entry) is None:
        raise ImageError(
            f"{entry.input}: the photo is not there; put it back, start from the folder in which it was inverted, "
            "or leave out --paste"
        )
    if entry.sha256 is not None and hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ImageError(f"{job.path} was changed after {results.path} was made of it; invert it again")


def _compose(results: Results, face: SavedFace, composition: Composition) -> Composites:
    """Composes one face; for an inversion, the reference before the edit is the crop."""
    folder, command = results.path, f"oodinv {results.header.command}"
    crop = resize_pixels(read_picture(folder / f"aligned/{face.crop}.png", command), int(results.header.card["size"]))
    generated = read_picture(folder / f"generated/{face.name}.png", command)
    arrays = read_flows(folder / f"flows/{face.name}.npz", command, {"mask"})
    mask, unedited_mask = arrays["mask"], arrays.get(UNEDITED_MASK)
    if any(m is not None and m.shape != crop.shape[:2] for m in (mask, unedited_mask)):
        raise ImageError(f"{folder}/flows/{face.name}.npz: its masks are not of the crop's size; run `{command}` again")
    if results.header.command == "invert":
        levels = (_levels(crop), _levels(generated), mask.astype(np.float32))
        return Composites(crop, matching_colour(rounded(compose(*levels, composition)), crop))
    unedited = read_picture(folder / f"unedited/{face.crop}.png", command)
    stored = StoredFace(crop, unedited, generated, mask, parts_of(crop, arrays), unedited_mask, read_dye(arrays))
    kind = flow_kind(composition)
    saved_flow = None if kind is None else arrays.get(kind)
    scale = float(results.header.card["crop"]["scale"])
    return compose_stored(stored, unedited_composite(stored, composition), composition, scale, saved_flow)


def _levels(pixels: Pixels) -> NDArray[np.float32]:
    return pixels.astype(np.float32)
