"""Pictures of a face: masks, generated pictures and composites, as PNG files with their provenance."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from oodinv.imaging.colour import matching_colour
from oodinv.imaging.encode import write_png
from oodinv.imaging.pixels import Pixels
from oodinv.imaging.provenance import Provenance, SourceType, packet

if TYPE_CHECKING:
    from oodinv.inversion import Artefacts


@dataclass(frozen=True)
class Pictures:
    """Writes one picture of a face. pixels: selects it, uint8 (H, W) or (H, W, 3). source: its digital source type."""

    name: str
    pixels: "Callable[[Artefacts], Pixels]"
    source: SourceType

    def write(self, artefacts: "Artefacts", folder: Path, made: Provenance) -> Iterator[str]:
        """Writes the picture."""
        yield (output := f"{self.name}/{artefacts.subject.name}.png")
        write_png(folder / output, self.pixels(artefacts), packet(replace(made, source=self.source)))


MASKS = Pictures("masks", lambda a: a.mask, "trainedAlgorithmicMedia")
GENERATED = Pictures("generated", lambda a: a.generated, "trainedAlgorithmicMedia")
COMPOSITES = Pictures(
    "composites", lambda a: matching_colour(a.composite, a.subject.crop), "compositeWithTrainedAlgorithmicMedia"
)
