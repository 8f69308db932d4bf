"""What `align` does to each photo: the stages that `runner.run` drives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import oodinv
from oodinv.errors import NoFaceError
from oodinv.faces.align import align
from oodinv.faces.detectors.base import Detector
from oodinv.faces.selection import Selection
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.pixels import Pixels
from oodinv.inversion import Subject
from oodinv.recipe.card import Crop
from oodinv.runs.manifest import Header
from oodinv.runs.sinks import write_aligned
from oodinv.runs.sources.base import Job

WhichFaces = Literal["all", "largest"]


def cut_out(job: Job, pixels: Pixels, detector: Detector, size: int, how: Crop, selection: Selection) -> list[Subject]:
    """The selected faces of a photo from left to right; several get the numbers 0, 1, … after the photo's name."""
    try:
        faces = align(pixels, detector, size, how.quad, selection).faces
    except NoFaceError as error:
        raise NoFaceError(f"{job.path}: {error}") from error
    if len(faces) == 1:
        return [Subject(job.name, faces[0].crop, faces[0])]
    return [Subject(f"{job.name}.{n}", face.crop, face) for n, face in enumerate(faces)]


@dataclass(frozen=True)
class AlignStages:
    """Finds faces and writes their crops."""

    detector: Detector
    size: int
    crop: Crop
    faces: WhichFaces

    def read(self, job: Job, content: bytes) -> list[Subject]:
        """Decodes a photo and cuts out its faces.

        Raises:
            ImageError: no readable picture. NoFaceError: no face in it.
        """
        pixels = decode_photo(content, job.path).pixels
        return cut_out(job, pixels, self.detector, self.size, self.crop, Selection(faces=self.faces))

    def compute(self, photos: list[list[Subject]]) -> list[list[Subject]]:
        """Nothing more to do."""
        return photos

    def write(self, results: list[Subject], folder: Path) -> list[str]:
        """Writes crops and their geometry."""
        return [output for subject in results for output in write_aligned(subject, folder)]


def align_header(stages: AlignStages, detector: str) -> Header:
    """Header of the manifest of an `align` run."""
    settings = {
        "size": stages.size,
        "framing": stages.crop.framing,
        "crop_scale": stages.crop.scale,
        "faces": stages.faces,
        "detector": detector,
    }
    return Header(oodinv.__version__, "align", {}, {}, settings)
