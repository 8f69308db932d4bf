"""Latent codes: latents/NAME.npz with w_plus float32 (num_ws, w_dim)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oodinv.imaging.files import write_npz
from oodinv.imaging.provenance import Provenance

if TYPE_CHECKING:
    from oodinv.inversion import Artefacts


@dataclass(frozen=True)
class Latents:
    """Writes the latent code of a face."""

    name: str = "latents"

    def write(self, artefacts: "Artefacts", folder: Path, made: Provenance) -> Iterator[str]:  # noqa: ARG002
        """Writes w_plus."""
        yield (output := f"{self.name}/{artefacts.subject.name}.npz")
        write_npz(folder / output, w_plus=artefacts.w_plus)


LATENTS = Latents()
