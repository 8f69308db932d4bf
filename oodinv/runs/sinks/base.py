"""The protocol of sinks."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from oodinv.imaging.provenance import Provenance

if TYPE_CHECKING:
    from oodinv.inversion import Artefacts


class Sink(Protocol):
    """Writes one kind of artefact of a face into a folder of its own."""

    @property
    def name(self) -> str:
        """Name in `--save`, and of the folder below the output."""
        ...

    def write(self, artefacts: "Artefacts", folder: Path, made: Provenance) -> Iterator[str]:
        """Writes the files of one face below `folder`; yields their paths relative to it, each before it is written.

        Raises:
            ImageError, OutputError: a file can't be written.
        """
        ...
