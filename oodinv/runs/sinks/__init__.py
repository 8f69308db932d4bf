"""Registry of sinks, which write the artefacts of faces: one module and one entry in SINKS each."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from oodinv.imaging.provenance import Provenance
from oodinv.runs.sinks.arrays import FLOWS, LATENTS
from oodinv.runs.sinks.base import Sink
from oodinv.runs.sinks.pictures import COMPOSITES, GENERATED, MASKS

if TYPE_CHECKING:
    from oodinv.inversion import Artefacts

SINKS: tuple[Sink, ...] = (
    LATENTS,
    FLOWS,
    MASKS,
    GENERATED,
    COMPOSITES,
)
"""All sinks for artefacts of a face, in the order in which they write."""

PASTED = "pasted"
"""Name in `--save` of pasted photos, which are written once per photo rather than per face."""


def output_names() -> tuple[str, ...]:
    """Lists the names that `--save` accepts."""
    return (*(sink.name for sink in SINKS), PASTED)


def write_artefacts(artefacts: "Artefacts", folder: Path, save: frozenset[str], made: Provenance) -> Iterator[str]:
    """Writes the artefacts of one face that `save` names, pictures with provenance; yields paths as they are written.

    Raises:
        ImageError, OutputError: a file can't be written.
    """
    for sink in SINKS:
        if sink.name in save:
            yield from sink.write(artefacts, folder, made)
