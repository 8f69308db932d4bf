"""Faces found in photos, and cut out with everything needed to put them back.

Two detectors give five points in a common sense, from which `oodinv.quad` makes the FFHQ crop; its docstring
states the coordinates. Left and right are the picture's, not the person's.
"""

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from oodinv.errors import ImageError, MissingWeights, NoFaceError, WeightsError
from oodinv.imaging.pixels import Pixels
from oodinv.quad import Points, crop, crop_to_photo, ffhq_quad, quad_side, rough_crop, scale_quad, transform

DetectorName = Literal["yunet", "face-alignment"]


@dataclass(frozen=True, eq=False)
class Face:
    """A detected face in photo coordinates.

    points (5, 2): centre of the left eye, of the right eye, tip of the nose, left and right corner of the
    mouth, such that `ffhq_quad` of them is the crop.
    landmarks (N, 2): what the detector reported, 5 or 68 points. score in [0, 1].
    """

    points: Points
    landmarks: Points
    score: float
    detector: DetectorName


class Detector(Protocol):
    """Finds faces; implementations may be shared by threads."""

    def detect(self, pixels: Pixels) -> list[Face]:
        """Faces in a photo uint8 (H, W, 3), from left to right; an empty list if there is none."""
        ...


# --- photos to crops -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A crop uint8 (size, size, 3) and where it belongs.

    quad (4, 2) in photo coordinates; photo_size (width, height) of the upright photo. The exact inverse of
    the crop is `crop_to_photo(quad, size)`.
    """

    crop: Pixels
    quad: Points
    face: Face
    photo_size: tuple[int, int]

    def to_json(self) -> str:
        """What OUT/aligned/NAME.json holds: quad, landmarks, score, detector, photo_size; no digit lost."""
        record = {
            "quad": self.quad.tolist(),
            "landmarks": self.face.landmarks.tolist(),
            "score": self.face.score,
            "detector": self.face.detector,
            "photo_size": list(self.photo_size),
        }
        return json.dumps(record, indent=1) + "\n"


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a saved crop belongs: quad (4, 2) in a photo of photo_size (width, height)."""

    quad: Points
    photo_size: tuple[int, int]


def read_placement(path: Path) -> Placement:
    """Reads OUT/aligned/NAME.json.

    Raises:
        ImageError: the file is missing or holds no quad of four finite corners and no photo size.
    """
    try:
        record = _read_record(path)
        quad = np.array(record["quad"], dtype=np.float64)
        width, height = (int(length) for length in record["photo_size"])
    except _RECORD_DAMAGE as error:
        raise _bad_placement(path, str(error)) from error
    if quad.shape != (4, 2) or not np.isfinite(quad).all():
        raise _bad_placement(path, "its quad is no list of four corners")
    return Placement(quad, (width, height))


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


def largest(faces: Sequence[Face]) -> Face:
    """The face whose FFHQ crop is largest, of at least one."""
    return max(faces, key=lambda face: quad_side(ffhq_quad(face.points)))


def align(
    pixels: Pixels, detector: Detector, size: int, crop_scale: float, faces: Literal["all", "largest"]
) -> list[AlignedFace]:
    """Crops of the faces in a photo uint8 (H, W, 3): all from left to right, or the largest one.

    size: side of the crops in pixels. crop_scale below 1: tighter than FFHQ.

    Raises:
        NoFaceError: the detector finds none; the caller knows the file's name and puts it in front.
    """
    found = detector.detect(pixels)
    if not found:
        raise NoFaceError("no face found; if there is one, try the other --detector, or cut it out and use --aligned")
    if faces == "largest":
        found = [largest(found)]
    photo_size = (pixels.shape[1], pixels.shape[0])
    quads = [ffhq_quad(face.points, crop_scale) for face in found]
    return [
        AlignedFace(crop(pixels, quad, size), quad, face, photo_size) for quad, face in zip(quads, found, strict=True)
    ]


# --- YuNet -----------------------------------------------------------------------------------------------

_OVERVIEW = 960  # longest side, in pixels, of the copy in which faces are searched
# Canvas size, and the share of it left empty on each side: for large faces, for small ones.
_LEVELS = ((320, 0.25), (_OVERVIEW, 0.0))
_QUICK_LEVELS = ((320, 0.1),)
_TURNS = (45, 90, 135, 180, 225, 270, 315)  # degrees, tried where no upright face is certain
_TURNED_LEVELS = ((480, 0.1),)  # the levels of these trials
_CANDIDATE, _CERTAIN, _FACE = 0.5, 0.9, 0.7  # scores; a face on its side can reach 0.89
_SMALLEST = 24  # side of the FFHQ quad in photo pixels below which nothing is called a face
_CHIP_SIZES = (192, 256, 320)  # sizes at which a candidate is looked at again, upright and filling the frame
_FINE_CHIP_SIZES = (384, 480, 576)  # sizes of the last look, at which the network follows the shape of a mouth
_CHIP_SCALE = 1.5  # side of that frame in FFHQ quads
_PASSES, _SETTLED = 6, 0.06  # looks at a candidate at most, and the displacement below which one was the last
_SAME = 0.25  # displacement by the last look beyond which it is another face, or none


@dataclass(frozen=True, eq=False)
class _Sighting:
    points: Points
    score: float


class Yunet:
    """Detector of OpenCV (FaceDetectorYN) with five points; each thread loads a network of its own."""

    name: DetectorName = "yunet"

    def __init__(self, path: Path, *, quick: bool = False) -> None:
        """path: the ONNX file of the catalog entry `yunet`. quick: one look at each photo, for upright faces that
        fill it; some ten times faster and a little less exact, which training data can bear.

        Raises:
            WeightsError: the file is missing or no such network.
        """
        self._path, self._quick = path, quick
        self._own = threading.local()
        self._own.network = _load_yunet(path)

    def detect(self, pixels: Pixels) -> list[Face]:
        """Faces in a photo uint8 (H, W, 3), from left to right; an empty list if there is none."""
        found = self._candidates(pixels, (0,), _QUICK_LEVELS) if self._quick else self._search(pixels)
        faces = [Face(as_ffhq(s.points), s.points, s.score, self.name) for s in found if _is_face(s)]
        return _left_to_right(faces)

    def _search(self, pixels: Pixels) -> list[_Sighting]:
        """Upright faces, and where none is certain turned ones, each looked at again until it stays in place."""
        found = self._refined(pixels, self._candidates(pixels, (0,), _LEVELS))
        if not any(sighting.score >= _CERTAIN for sighting in found):
            turned = self._refined(pixels, self._candidates(pixels, _TURNS, _TURNED_LEVELS))
            found = _distinct(found + turned)
        return found

    def _candidates(self, pixels: Pixels, turns: Sequence[int], levels: Sequence[tuple[int, float]]) -> list[_Sighting]:
        """What the network finds in copies of the photo of several sizes and turns, best first."""
        overview, scale = _bounded(pixels, _OVERVIEW)
        candidates = []
        for turn in turns:
            for size, empty in levels:
                useful = min(size, 4 * max(overview.shape))
                canvas, matrix = _canvas(overview, turn, useful, empty)
                candidates += [_Sighting(transform(matrix, s.points) / scale, s.score) for s in self._look(canvas)]
        return _distinct([candidate for candidate in candidates if _plausible(candidate, pixels)])

    def _refined(self, pixels: Pixels, candidates: list[_Sighting]) -> list[_Sighting]:
        refined = (self._refine(pixels, candidate) for candidate in candidates)
        return _distinct([sighting for sighting in refined if sighting is not None])

    def _look(self, picture: Pixels) -> list[_Sighting]:
        """Runs the network on an RGB picture."""
        if not hasattr(self._own, "network"):
            self._own.network = _load_yunet(self._path)
        bgr = np.ascontiguousarray(picture[..., ::-1])
        self._own.network.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = self._own.network.detect(bgr)
        if rows is None:
            return []
        return [_Sighting(row[4:14].reshape(5, 2).astype(np.float64), float(row[14])) for row in rows]

    def _refine(self, pixels: Pixels, candidate: _Sighting) -> _Sighting | None:
        """Looks again until the face stays where it was seen; None if it is lost. A tilted face needs a few turns."""
        sighting = candidate
        for _ in range(_PASSES):
            again = self._confirm(pixels, sighting, _CHIP_SIZES)
            if again is None or not _plausible(again, pixels):
                return None
            settled = _displacement(sighting, again) < _SETTLED
            sighting = again
            if settled:
                break
        return self._sharpened(pixels, sighting)

    def _sharpened(self, pixels: Pixels, sighting: _Sighting) -> _Sighting:
        """The same face with points from a larger view, in which the network sees the shape of a mouth."""
        closer = self._confirm(pixels, sighting, _FINE_CHIP_SIZES)
        if closer is None or _displacement(sighting, closer) > _SAME:
            return sighting
        return _Sighting(closer.points, sighting.score)

    def _confirm(self, pixels: Pixels, sighting: _Sighting, sizes: Sequence[int]) -> _Sighting | None:
        """Looks once more, with the face upright, at several sizes and mirrored, and averages; None if not seen.

        The score is the mean over all looks, 0 where nothing was seen, so chance finds lose.
        """
        quad = scale_quad(ffhq_quad(sighting.points), _CHIP_SCALE)
        chip = rough_crop(pixels, quad, max(sizes))
        matrix = crop_to_photo(quad, 1)
        seen = []
        for size in sizes:
            small = np.asarray(cv2.resize(chip, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
            for mirrored in (False, True):
                sightings = self._look(small[:, ::-1] if mirrored else small)
                scaled = [_Sighting(s.points / size, s.score) for s in sightings]
                central = _central([_mirror(s) for s in scaled] if mirrored else scaled)
                if central is not None:
                    seen.append(central)
        if not seen:
            return None
        score = sum(s.score for s in seen) / (2 * len(sizes))
        return _Sighting(transform(matrix, np.mean([s.points for s in seen], axis=0)), score)


_LOADING = threading.Lock()


def _load_yunet(path: Path) -> cv2.FaceDetectorYN:
    """OpenCV 5 warns of a setting that its own loader makes, so the log, shared by all, is held back meanwhile."""
    with _LOADING:
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            return cv2.FaceDetectorYN.create(str(path), "", (320, 320), _CANDIDATE, 0.3, 5000)
        except cv2.error as error:
            raise WeightsError(f"{path}: OpenCV can't read it as the YuNet network; pull the weights again") from error
        finally:
            cv2.utils.logging.setLogLevel(level)


def as_ffhq(points: Points) -> Points:
    """YuNet's points (5, 2) moved and scaled so that `ffhq_quad` of them is what 68 landmarks would give.

    The plain quad of YuNet's points errs most in its size: it is too large for a mouth that is wide against
    the quad and too small for one that is far from the eyes. The nose, which sways with the head, tells how
    far the eyes' middle lies from that of the 68 landmarks. Few coefficients, symmetric under mirroring,
    fitted by least squares to 38 FFHQ-aligned photos before the last look was added, rounded and bounded. Corner error
    on 32 of them with the points of a whole search, median and mean as a share of the side: 3.4 and 3.8 % plain,
    2.6 and 3.0 % as moved here.
    """
    eye_left, eye_right, nose, mouth_left, mouth_right = points
    quad = ffhq_quad(points)
    side, centre = quad_side(quad), quad.mean(axis=0)
    right = (quad[3] - quad[0]) / side
    eyes = (eye_left + eye_right) / 2
    mouth_width = np.hypot(*(mouth_right - mouth_left)) / side
    mouth_distance = np.hypot(*((mouth_left + mouth_right) / 2 - eyes)) / side
    growth = np.clip(-4.0 * (mouth_width - 0.21) + 1.5 * (mouth_distance - 0.25), -0.08, 0.08)
    shift = -0.3 * ((nose - eyes) @ right) * right
    moved: Points = centre + shift + (points - centre) * (1 + growth)
    return moved


def _is_face(sighting: _Sighting) -> bool:
    return sighting.score >= _FACE and quad_side(ffhq_quad(sighting.points)) >= _SMALLEST


def _left_to_right(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: float(face.points[:, 0].mean()))


def _plausible(sighting: _Sighting, pixels: Pixels) -> bool:
    """Whether the face has a size and is centred in the photo; others are reflections in its padding."""
    centre = sighting.points.mean(axis=0)
    inside = (centre >= 0).all() and (centre <= pixels.shape[1::-1]).all()
    return bool(inside) and quad_side(ffhq_quad(sighting.points)) >= 1


def _bounded(pixels: Pixels, longest: int) -> tuple[Pixels, float]:
    """The photo, shrunk if it is larger than this, and its scale."""
    scale = min(1.0, longest / max(pixels.shape[:2]))
    if scale == 1.0:
        return pixels, 1.0
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8), scale


def _canvas(picture: Pixels, turn: int, size: int, empty: float) -> tuple[Pixels, Points]:
    """The picture turned and centred on a square canvas, and the matrix (2, 3) back to the picture."""
    height, width = picture.shape[:2]
    angle = math.radians(turn)
    cos, sin = math.cos(angle), math.sin(angle)
    extent = max(abs(cos) * width + abs(sin) * height, abs(sin) * width + abs(cos) * height)
    unit = extent / (size * (1 - 2 * empty))
    rotation = np.array([[cos, -sin], [sin, cos]]) * unit
    matrix = np.column_stack([rotation, np.array([width, height]) / 2 - rotation @ np.full(2, size / 2)])
    quad = transform(matrix, np.array([[0, 0], [0, size], [size, size], [size, 0]], dtype=np.float64))
    return crop(picture, quad, size), matrix


def _mirror(sighting: _Sighting) -> _Sighting:
    """Undoes the mirroring of a picture of width 1: left and right change places."""
    points = sighting.points[[1, 0, 2, 4, 3]] * (-1, 1) + (1, 0)
    return _Sighting(points, sighting.score)


def _central(sightings: list[_Sighting]) -> _Sighting | None:
    """The face that a chip was cut for: nearest its centre, and not farther than a fifth of its side."""
    near = [(float(np.abs(ffhq_quad(s.points).mean(axis=0) - 0.5).max()), s) for s in sightings]
    near = [pair for pair in near if pair[0] < 0.2]
    return min(near, key=lambda pair: pair[0])[1] if near else None


def _displacement(before: _Sighting, after: _Sighting) -> float:
    """Mean distance between the corners of two sightings' quads, as a share of the side."""
    quad = ffhq_quad(before.points)
    return float(np.hypot(*(ffhq_quad(after.points) - quad).T).mean()) / quad_side(quad)


def _distinct(sightings: list[_Sighting]) -> list[_Sighting]:
    """The best sighting of each face, best first; centres within a third of a quad's side are one face."""
    kept: list[tuple[Points, float]] = []
    best = []
    for sighting in sorted(sightings, key=lambda s: -s.score):
        quad = ffhq_quad(sighting.points)
        centre, side = quad.mean(axis=0), quad_side(quad)
        if all(np.hypot(*(centre - c)) > max(side, s) / 3 for c, s in kept):
            kept.append((centre, side))
            best.append(sighting)
    return best


# --- face-alignment --------------------------------------------------------------------------------------


class FaceAlignment:
    """68 landmarks by the face-alignment package (S3FD, FAN), which downloads its networks on first use."""

    name: DetectorName = "face-alignment"

    def __init__(self, device: str) -> None:
        """device: as torch names it, such as cpu or cuda:0.

        Raises:
            MissingWeights: the networks can't be downloaded.
        """
        import face_alignment  # takes seconds, and few runs need it

        landmarks = face_alignment.LandmarksType.TWO_D
        try:
            # Compiling would cost every first run minutes to save each photo a fraction of a second.
            self._network = face_alignment.FaceAlignment(landmarks, device=device, compile=False)
        except OSError as error:
            raise MissingWeights(
                f"face-alignment can't download its networks ({error}); connect once, or use --detector yunet"
            ) from error
        self._lock = threading.Lock()

    def detect(self, pixels: Pixels) -> list[Face]:
        """Faces in a photo uint8 (H, W, 3), from left to right; an empty list if there is none.

        Boxes are searched in a copy of bounded size, landmarks in the photo itself.
        """
        overview, scale = _bounded(pixels, _OVERVIEW)
        with self._lock:
            boxes = self._network.face_detector.detect_from_image(overview)
            boxes = [np.append(np.asarray(box[:4]) / scale, box[4]) for box in boxes if box[4] >= _FACE]
            found = self._network.get_landmarks_from_image(pixels, detected_faces=boxes) if boxes else []
        faces = [face_of_68(landmarks, float(box[4])) for landmarks, box in zip(found, boxes, strict=True)]
        return _left_to_right(faces)


def face_of_68(landmarks: Points, score: float) -> Face:
    """Face from 68 landmarks (68, 2) counted from pixel centres, in iBUG's order.

    Eyes are the means of points 36–41 and 42–47, mouth corners points 48 and 54, as in FFHQ.
    """
    landmarks = np.asarray(landmarks, dtype=np.float64) + 0.5
    eyes = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    points = np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])
    return Face(points, landmarks, score, "face-alignment")
