"""Arrays of a face, as uncompressed .npz files.

latents/NAME.npz: w_plus float32 (num_ws, w_dim) and, if refined, pivot, of the same shape.
flows/NAME.npz: flow_S (2, S, S) and mask_S (1, S, S) for each size, and mask (H, W).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.files import write_npz
from oodinv.imaging.provenance import Provenance

if TYPE_CHECKING:
    from oodinv.inversion import Artefacts


@dataclass(frozen=True)
class Arrays:
    """Writes arrays of a face. select: returns them by name."""

    name: str
    select: "Callable[[Artefacts], dict[str, NDArray[np.floating[Any]]]]"

    def write(self, artefacts: "Artefacts", folder: Path, made: Provenance) -> Iterator[str]:  # noqa: ARG002
        """Writes the file."""
        yield (output := f"{self.name}/{artefacts.subject.name}.npz")
        write_npz(folder / output, **self.select(artefacts))


LATENTS = Arrays("latents", lambda a: {"w_plus": a.w_plus} | ({} if a.pivot is None else {"pivot": a.pivot}))
FLOWS = Arrays("flows", lambda a: dict(a.flows))
