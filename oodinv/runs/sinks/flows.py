"""Flows and masks: flows/NAME.npz with flow_S (2, S, S) and mask_S (1, S, S) for each size, and mask (H, W)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oodinv.imaging.files import write_npz
from oodinv.imaging.provenance import Provenance

if TYPE_CHECKING:
    from oodinv.inversion import Artefacts


@dataclass(frozen=True)
class Flows:
    """Writes the flows and masks of a face."""

    name: str = "flows"

    def write(self, artefacts: "Artefacts", folder: Path, made: Provenance) -> Iterator[str]:  # noqa: ARG002
        """Writes all arrays of `artefacts.flows`."""
        yield (output := f"{self.name}/{artefacts.subject.name}.npz")
        write_npz(folder / output, **artefacts.flows)


FLOWS = Flows()
