"""The `align` workflow: stages for `runner.run`."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import oodinv
from oodinv.errors import NoFaceError
from oodinv.faces.align import align
from oodinv.faces.detectors.base import Detector
from oodinv.faces.selection import Selection
from oodinv.faces.upright import settled
from oodinv.imaging.decode import count_frames, decode_photo
from oodinv.imaging.photo import Photo
from oodinv.inversion import Subject
from oodinv.recipe.card import Crop
from oodinv.runs.manifest import Header
from oodinv.runs.sinks.aligned import write_aligned
from oodinv.runs.sources.base import Job


@dataclass(frozen=True, eq=False)
class CutOut:
    """The selected faces of a photo from left to right, and remarks on skipped faces."""

    subjects: list[Subject]
    remarks: list[str]


def decode_upright(job: Job, content: bytes, detector: Detector, *, deep: bool = False) -> Photo:
    """Decodes a photo; where its EXIF and XMP contradict each other, in the orientation in which its face is upright.

    Raises:
        ImageError: as `decode_photo`.
    """

    def decoded(orientation: int | None) -> Photo:
        return decode_photo(content, job.path, deep=deep, frame=job.frame or 0, orientation=orientation)

    return settled(decoded(None), detector, decoded)


def cut_out(job: Job, photo: Photo, detector: Detector, size: int, how: Crop, selection: Selection) -> CutOut:
    """Cuts the selected faces out of a photo; if there are several, appends 0, 1, … to the photo's name.

    Raises:
        NoFaceError: there is no face, or none is selected.
    """
    try:
        found = align(photo.pixels, detector, size, how.quad, selection)
    except NoFaceError as error:
        raise NoFaceError(f"{job.path}: {error}") from error
    remarks = [f"face {one.index} left out: {one.reason}" for one in found.dropped]
    orientation = None if photo.disputed is None else photo.orientation
    faces = [replace(face, orientation=orientation) for face in found.faces]
    remarks += [f"{' and '.join(face.cut_off)} outside the photo, so guessed" for face in faces if face.cut_off]
    if len(faces) == 1:
        return CutOut([Subject(job.name, faces[0].crop, faces[0])], remarks)
    return CutOut([Subject(f"{job.name}.{n}", face.crop, face) for n, face in enumerate(faces)], remarks)


def unused_frames(job: Job, content: bytes) -> list[str]:
    """Returns a remark if a file has several frames and only the first is used."""
    count = 1 if job.frame is not None else count_frames(content, job.path)
    return [] if count == 1 else [f"only the first of {count} frames was used; --frames all uses each"]


@dataclass(frozen=True)
class AlignStages:
    """Finds faces and writes their crops."""

    detector: Detector
    size: int
    crop: Crop
    selection: Selection

    def read(self, job: Job, content: bytes) -> CutOut:
        """Decodes a photo and cuts out its faces.

        Raises:
            ImageError: no readable picture. NoFaceError: no face in it.
        """
        photo = decode_upright(job, content, self.detector)
        cut = cut_out(job, photo, self.detector, self.size, self.crop, self.selection)
        return replace(cut, remarks=[*unused_frames(job, content), *cut.remarks])

    def compute(self, photos: list[CutOut]) -> list[CutOut]:
        """Returns its input: `read` does all the work."""
        return photos

    def write(self, results: CutOut, folder: Path) -> list[str]:
        """Writes crops and their geometry."""
        return [output for subject in results.subjects for output in write_aligned(subject, folder)]

    def remarks(self, results: CutOut) -> list[str]:
        """Returns remarks on skipped faces."""
        return results.remarks


def selection_record(selection: Selection) -> dict[str, Any]:
    """Returns a selection as the dictionary stored in manifests."""
    like = selection.like
    return {
        "faces": selection.faces,
        "min_size": selection.min_size,
        "min_score": selection.min_score,
        "min_sharpness": selection.min_sharpness,
        "indices": None if selection.indices is None else sorted(selection.indices),
        "like": None if like is None else hashlib.sha256(like.references.tobytes()).hexdigest(),
        "cut_off": selection.cut_off,
    }


def align_header(stages: AlignStages, detector: str) -> Header:
    """Builds the manifest header of an `align` run."""
    settings = {
        "size": stages.size,
        "framing": stages.crop.framing,
        "crop_scale": stages.crop.scale,
        "selection": selection_record(stages.selection),
        "detector": detector,
    }
    return Header(oodinv.__version__, "align", {}, {}, settings)
