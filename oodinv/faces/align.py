"""Faces found in photos, and cut out with everything needed to put them back.

Every detector gives five points in a common sense, from which a framing places the crop. `faces.quads` states the
coordinates. Left and right are the picture's, not the person's.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodinv.errors import ImageError, NoFaceError
from oodinv.faces.crop import crop
from oodinv.faces.detectors.base import Detector, Face
from oodinv.faces.quads import Points
from oodinv.faces.selection import ALL, Dropped, Selection, outside, select
from oodinv.imaging.pixels import Pixels


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A crop uint8 (size, size, 3) and where it belongs.

    quad (4, 2) in photo coordinates; photo_size (width, height) of the upright photo. The exact inverse of
    the crop is `crop_to_photo(quad, size)`. cut_off: names of the points that the photo doesn't show, which are near
    its border unless `Selection.cut_off` lets such faces through. orientation: as which the photo was decoded, 1 to 8,
    if its file contradicts itself; see `faces.upright`.
    """

    crop: Pixels
    quad: Points
    face: Face
    photo_size: tuple[int, int]
    cut_off: tuple[str, ...] = ()
    orientation: int | None = None

    @property
    def placement(self) -> "Placement":
        """Position of the crop."""
        return Placement(self.quad, self.photo_size, self.orientation)

    def to_json(self) -> str:
        """Content of OUT/aligned/NAME.json: quad, landmarks, score, detector, photo_size, cut_off; no digit lost.

        Also orientation, if the photo's file contradicts itself.
        """
        record = {
            "quad": self.quad.tolist(),
            "landmarks": self.face.landmarks.tolist(),
            "score": self.face.score,
            "detector": self.face.detector,
            "photo_size": list(self.photo_size),
            "cut_off": list(self.cut_off),
        }
        if self.orientation is not None:
            record["orientation"] = self.orientation
        return json.dumps(record, indent=1) + "\n"


@dataclass(frozen=True, eq=False)
class AlignedFaces:
    """The selected faces of a photo from left to right, at least one, and those left out, with reasons."""

    faces: list[AlignedFace]
    dropped: list[Dropped]


@dataclass(frozen=True, eq=False)
class Placement:
    """Position of a saved crop: quad (4, 2) in a photo of photo_size (width, height).

    orientation: as which the photo must be decoded for it, 1 to 8; None if it is the file's.
    """

    quad: Points
    photo_size: tuple[int, int]
    orientation: int | None = None


def read_placement(path: Path) -> Placement:
    """Reads OUT/aligned/NAME.json.

    Raises:
        ImageError: the file is missing or holds no quad of four finite corners and no photo size.
    """
    try:
        record = _read_record(path)
        quad = np.array(record["quad"], dtype=np.float64)
        width, height = (int(length) for length in record["photo_size"])
        orientation = record.get("orientation")
    except _RECORD_DAMAGE as error:
        raise _bad_placement(path, str(error)) from error
    if quad.shape != (4, 2) or not np.isfinite(quad).all():
        raise _bad_placement(path, "its quad is not a list of four corners")
    if orientation is not None and orientation not in range(1, 9):
        raise _bad_placement(path, "its orientation is not a number from 1 to 8")
    return Placement(quad, (width, height), orientation)


def read_landmarks(path: Path) -> Points:
    """Landmarks (5, 2) or (68, 2) of OUT/aligned/NAME.json, in pixels of the photo.

    Raises:
        ImageError: the file is missing or holds no such landmarks.
    """
    try:
        landmarks = np.array(_read_record(path)["landmarks"], dtype=np.float64)
    except _RECORD_DAMAGE as error:
        raise _bad_placement(path, str(error)) from error
    if landmarks.shape not in ((5, 2), (68, 2)) or not np.isfinite(landmarks).all():
        raise _bad_placement(path, f"its landmarks have shape {landmarks.shape}, not (5, 2) or (68, 2)")
    return landmarks


_RECORD_DAMAGE = (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError)


def _read_record(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _bad_placement(path: Path, reason: str) -> ImageError:
    return ImageError(f"{path}: expected what `oodinv align` writes ({reason}); align the photo again")


def align(
    pixels: Pixels, detector: Detector, size: int, frame: Callable[[Points], Points], selection: Selection = ALL
) -> AlignedFaces:
    """Finds the faces in a photo uint8 (H, W, 3) and cuts out those selected.

    size: side of the crops in pixels. frame: places the crop, five points (5, 2) → quad (4, 2), as a model card's
    `crop.quad` does.

    Raises:
        NoFaceError: no face is found, or none is selected, with the reasons; the caller knows the file's name and puts
            it in front.
    """
    found = detector.detect(pixels)
    if not found:
        raise NoFaceError("no face found; if there is one, try the other --detector, or cut it out and use --aligned")
    kept, dropped = select(pixels, found, selection)
    if not kept:
        reasons = "; ".join(f"face {one.index}: {one.reason}" for one in dropped)
        raise NoFaceError(f"of {len(found)} face{'s' * (len(found) > 1)} found none is selected ({reasons})")
    photo_size = (pixels.shape[1], pixels.shape[0])
    faces = []
    for face in kept:
        quad = frame(face.points)
        faces.append(AlignedFace(crop(pixels, quad, size), quad, face, photo_size, outside(face, pixels)))
    return AlignedFaces(faces, dropped)
