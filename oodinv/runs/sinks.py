"""Writers of results: artefacts of each face, composites, and pasted photos."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from oodinv.compositing.paste_back import Patch, paste
from oodinv.imaging.colour import matching_colour
from oodinv.imaging.encode import AS_SOURCE, OutputFormat, write_photo, write_png
from oodinv.imaging.files import atomic_write, write_npz
from oodinv.imaging.metadata import JPEG_XMP_BYTES
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import Pixels
from oodinv.imaging.provenance import Provenance, SourceType, composite_mark, packet

if TYPE_CHECKING:
    from oodinv.inversion import Artefacts, Subject

Output = Literal["latents", "flows", "masks", "generated", "composites", "pasted"]
OUTPUTS: tuple[Output, ...] = get_args(Output)


def write_aligned(subject: "Subject", folder: Path) -> Iterator[str]:
    """Writes a face's crop and, if it was cut out of a photo, its geometry; yields paths as they are written."""
    yield (output := f"aligned/{subject.name}.png")
    write_png(folder / output, subject.crop, packet(Provenance()))
    if subject.aligned is not None:
        yield (output := f"aligned/{subject.name}.json")
        text = subject.aligned.to_json()
        atomic_write(folder / output, lambda file: file.write(text.encode()))


def write_artefacts(a: "Artefacts", folder: Path, save: frozenset[Output], made: Provenance) -> Iterator[str]:
    """Writes the artefacts of one face that `save` names, pictures with provenance; yields paths as they are written.

    Raises:
        ImageError, OutputError: a file can't be written.
    """
    name = a.subject.name
    if "latents" in save:
        yield (output := f"latents/{name}.npz")
        write_npz(folder / output, w_plus=a.w_plus)
    if "flows" in save:
        yield (output := f"flows/{name}.npz")
        write_npz(folder / output, **a.flows)
    pictures: tuple[tuple[Output, Pixels, SourceType], ...] = (
        ("masks", a.mask, "trainedAlgorithmicMedia"),
        ("generated", a.generated, "trainedAlgorithmicMedia"),
        ("composites", matching_colour(a.composite, a.subject.crop), "compositeWithTrainedAlgorithmicMedia"),
    )
    for wanted, pixels, source in pictures:
        if wanted in save:
            yield (output := f"{wanted}/{name}.png")
            write_png(folder / output, pixels, packet(replace(made, source=source)))


def write_png_composite(folder: Path, name: str, pixels: Pixels, made: Provenance) -> str:
    """Writes one composite with its provenance and returns its path below the folder.

    Raises:
        ImageError, OutputError: the file can't be written.
    """
    output = f"composites/{name}.png"
    write_png(folder / output, pixels, composite_mark(made))
    return output


def write_pasted(
    photo: Photo, patches: list[Patch], folder: Path, name: str, made: Provenance, how: OutputFormat = AS_SOURCE
) -> str:
    """Pastes changed crops into their photo and writes it with its provenance; returns the path below folder.

    Raises:
        ImageError, OutputError: the file can't be written.
    """
    output = f"pasted/{name}{how.suffix(photo)}"
    write_photo(folder / output, pasted(photo, patches, made, how), how.quality)
    return output


def pasted(photo: Photo, patches: list[Patch], made: Provenance, how: OutputFormat = AS_SOURCE) -> Photo:
    """Returns the photo with changed crops pasted in and its provenance in the XMP packet."""
    limit = JPEG_XMP_BYTES if how.suffix(photo) == ".jpg" else None
    return replace(_changed(photo, patches), xmp=composite_mark(made, photo.xmp, limit))


def _changed(photo: Photo, patches: list[Patch]) -> Photo:
    """Pastes the patches into the photo at the bit depth that will be written."""
    if photo.deep is None:
        return replace(photo, pixels=paste(photo.pixels, patches))
    return replace(photo, deep=np.dstack([paste(photo.deep[..., :3], patches), photo.deep[..., 3:]]))
