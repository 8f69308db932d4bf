"""Crops of faces and their geometry, which every run writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from oodinv.imaging.encode import write_png
from oodinv.imaging.files import atomic_write
from oodinv.imaging.provenance import Provenance, packet

if TYPE_CHECKING:
    from oodinv.inversion import Subject


def write_aligned(subject: "Subject", folder: Path) -> Iterator[str]:
    """Writes a face's crop and, if it was cut out of a photo, its geometry; yields paths as they are written."""
    yield (output := f"aligned/{subject.name}.png")
    write_png(folder / output, subject.crop, packet(Provenance()))
    if subject.aligned is not None:
        yield (output := f"aligned/{subject.name}.json")
        text = subject.aligned.to_json()
        atomic_write(folder / output, lambda file: file.write(text.encode()))
