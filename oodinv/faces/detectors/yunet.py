"""OpenCV's YuNet: five points a face, found by looking several times."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from oodinv.errors import WeightsError
from oodinv.faces.crop import rough_crop
from oodinv.faces.detectors.base import FACE_SCORE, OVERVIEW, Face, bounded, left_to_right
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.quads import Points, crop_to_photo, quad_side, scale_quad, transform
from oodinv.imaging.pixels import Pixels


class _View(NamedTuple):
    """A copy of the photo to look at: turned by degrees, on a square canvas of limited size.

    empty: share of the canvas left free on each side. least: the size up to which small photos are enlarged.
    """

    turn: int
    size: int
    empty: float
    least: int


_LARGE, _SMALL = _View(0, 192, 0.25, 192), _View(0, OVERVIEW, 0.0, 480)
_FIRST = (_LARGE, _SMALL, *(_View(turn, 256, 0.0, 256) for turn in (90, 180, 270)))
"""Upright faces that fill the photo, small ones, and faces that lie on their side beside upright ones."""
_MORE = tuple(_View(turn, 480, 0.1, 480) for turn in (45, 90, 135, 180, 225, 270, 315))
"""Tried where no face is certain."""
_QUICK = (_View(0, 320, 0.1, 320),)
_SHRINK = 0.8  # scale at which photos are looked at that are neither large nor small
_CANDIDATE, _CERTAIN = 0.5, 0.9  # scores; a face on its side can reach 0.89
_SMALLEST = 24  # side of the FFHQ quad in photo pixels below which nothing is called a face
_COARSE = (1.5, 160)  # where a candidate is looked at again: side of the frame in FFHQ quads, and in pixels
_FINE = (1.1, 352)  # the same of the last look; the network follows the shape of a mouth in large pictures only
_PASSES, _SETTLED = 6, 0.015  # looks at a candidate at most, and the displacement below which one was the last
_SAME = 0.25  # displacement by the last look beyond which it is another face, or none
_CLIP, _TILES = 10.0, 4  # of the equalisation: limit of the contrast, and tiles across and down


@dataclass(frozen=True, eq=False)
class _Sighting:
    points: Points
    score: float


class Yunet:
    """Detector of OpenCV (FaceDetectorYN) with five points; each thread loads a network of its own."""

    name: str = "yunet"

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
        found = self._candidates(pixels, _QUICK) if self._quick else self._search(pixels)
        faces = [Face(as_ffhq(s.points), s.points, s.score, self.name) for s in found if _is_face(s)]
        return left_to_right(faces)

    def _search(self, pixels: Pixels) -> list[_Sighting]:
        """Faces of a photo, and where there are none, those of a copy with its contrast equalised."""
        found = self._all(pixels)
        return found if any(map(_is_face, found)) else self._all(_equalised(pixels))

    def _all(self, pixels: Pixels) -> list[_Sighting]:
        """Upright and lying faces, and where none is certain those at other angles, each looked at again."""
        found = self._refined(pixels, self._candidates(pixels, _FIRST))
        if not any(sighting.score >= _CERTAIN for sighting in found):
            found = _distinct(found + self._refined(pixels, self._candidates(pixels, _MORE)))
        return found

    def _candidates(self, pixels: Pixels, views: Sequence[_View]) -> list[_Sighting]:
        """Runs the network on copies of the photo in several sizes and rotations."""
        overview, scale = bounded(pixels, OVERVIEW)
        by_turn: dict[int, list[_Sighting]] = {}
        for view in views:
            canvas, matrix = _canvas(overview, view)
            seen = (_Sighting(transform(matrix, s.points) / scale, s.score) for s in self._look(canvas))
            by_turn.setdefault(view.turn, []).extend(s for s in seen if _plausible(s, pixels))
        upright = _distinct(by_turn.pop(0, []))
        certain = [s for s in upright if s.score >= _CERTAIN]
        turned = [s for some in by_turn.values() for s in _distinct(some) if not any(_same_face(s, c) for c in certain)]
        return upright + turned  # one face may be here at several turns; the closest look tells which is right

    def _refined(self, pixels: Pixels, candidates: list[_Sighting]) -> list[_Sighting]:
        refined = (self._refine(pixels, candidate) for candidate in candidates)
        return _distinct([sighting for sighting in refined if sighting is not None])

    def _look(self, picture: Pixels) -> list[_Sighting]:
        """Runs the network on an RGB picture."""
        if not hasattr(self._own, "network"):
            self._own.network = _load_yunet(self._path)
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        self._own.network.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = self._own.network.detect(bgr)
        if rows is None:
            return []
        return [_Sighting(row[4:14].reshape(5, 2).astype(np.float64), float(row[14])) for row in rows]

    def _refine(self, pixels: Pixels, candidate: _Sighting) -> _Sighting | None:
        """Looks again until the face stays where it was seen, and then closely; None if it is lost.

        A tilted face needs a few turns.
        """
        sighting = candidate
        for _ in range(_PASSES):
            again = self._confirm(pixels, sighting, *_COARSE)
            if again is None or not _plausible(again, pixels):
                return None
            settled = _displacement(sighting, again) < _SETTLED
            sighting = again
            if settled:
                break
        closer = self._confirm(pixels, sighting, *_FINE)
        if closer is None or _displacement(sighting, closer) > _SAME or not _plausible(closer, pixels):
            return None
        return _Sighting((sighting.points + closer.points) / 2, (sighting.score + closer.score) / 2)

    def _confirm(self, pixels: Pixels, sighting: _Sighting, scale: float, size: int) -> _Sighting | None:
        """Looks once more, with the face upright, plain and mirrored, and averages both; None if it is seen in neither.

        scale, size: of the frame, in FFHQ quads and in pixels. The score is the mean over both looks, 0 where nothing
        was seen, so chance finds lose.
        """
        quad = scale_quad(ffhq_quad(sighting.points), scale)
        chip = rough_crop(pixels, quad, size)
        flipped = np.asarray(cv2.flip(chip, 1), np.uint8)
        looks = (_central(self._look(chip), size), _mirrored(_central(self._look(flipped), size), size))
        seen = [look for look in looks if look is not None]
        if not seen:
            return None
        points = np.mean([look.points for look in seen], axis=0)
        score = sum(look.score for look in seen) / len(looks)
        return _Sighting(transform(crop_to_photo(quad, size), points), score)


def load(fetch: Callable[[str], Path], device: str) -> Yunet:  # noqa: ARG001  (OpenCV runs it on the CPU)
    """For `load_detector`."""
    return Yunet(fetch("yunet"))


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
    """Moves and scales YuNet's points (5, 2) so that `ffhq_quad` agrees with that of 68 landmarks.

    The plain quad of YuNet's points errs most in its size: it is too large for a mouth that is wide against
    the quad and too small for one that is far from the eyes. The nose's offset, which depends on yaw,
    corrects the middle of the eyes for that of the 68 landmarks. Few coefficients, symmetric under mirroring,
    fitted by least squares to 38 FFHQ-aligned photos with the points of an earlier search, rounded and bounded. Corner
    error on 32 of them at 600 px, median and mean as a share of the side: 2.7 and 2.9 % (`bench/detection.py`).
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
    return sighting.score >= FACE_SCORE and quad_side(ffhq_quad(sighting.points)) >= _SMALLEST


def _plausible(sighting: _Sighting, pixels: Pixels) -> bool:
    """Returns True if the face has a size and is centred in the photo; others are reflections in its padding."""
    centre = sighting.points.mean(axis=0)
    inside = (centre >= 0).all() and (centre <= pixels.shape[1::-1]).all()
    return bool(inside) and quad_side(ffhq_quad(sighting.points)) >= 1


def _canvas(picture: Pixels, view: _View) -> tuple[Pixels, Points]:
    """The picture turned and centred on a square canvas, and the matrix (2, 3) back to the picture."""
    height, width = picture.shape[:2]
    angle = math.radians(view.turn)
    cos, sin = math.cos(angle), math.sin(angle)
    extent = max(abs(cos) * width + abs(sin) * height, abs(sin) * width + abs(cos) * height)
    size = min(view.size, max(round(_SHRINK * extent), min(view.least, 4 * max(height, width))))
    unit = extent / (size * (1 - 2 * view.empty))
    rotation = np.array([[cos, -sin], [sin, cos]]) * unit
    matrix = np.column_stack([rotation, np.array([width, height]) / 2 - rotation @ np.full(2, size / 2)])
    quad = transform(matrix, np.array([[0, 0], [0, size], [size, size], [size, 0]], dtype=np.float64))
    return rough_crop(picture, quad, size), matrix


def _equalised(pixels: Pixels) -> Pixels:
    """Grey copy with locally equalised contrast (CLAHE): shows faces in the dark and in glare, beside any light."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    even = cv2.createCLAHE(_CLIP, (_TILES, _TILES)).apply(grey)
    return np.asarray(cv2.cvtColor(even, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _mirrored(sighting: _Sighting | None, size: int) -> _Sighting | None:
    """Undoes the mirroring of a picture of this width: left and right change places."""
    if sighting is None:
        return None
    return _Sighting(sighting.points[[1, 0, 2, 4, 3]] * (-1, 1) + (size, 0), sighting.score)


def _central(sightings: list[_Sighting], size: int) -> _Sighting | None:
    """The face that a chip of this side was cut for: nearest its centre, not farther than a fifth of the side."""
    near = [(float(np.abs(ffhq_quad(s.points).mean(axis=0) / size - 0.5).max()), s) for s in sightings]
    near = [pair for pair in near if pair[0] < 0.2]
    return min(near, key=lambda pair: pair[0])[1] if near else None


def _displacement(before: _Sighting, after: _Sighting) -> float:
    """Mean distance between the corners of two sightings' quads, as a share of the side."""
    quad = ffhq_quad(before.points)
    return float(np.hypot(*(ffhq_quad(after.points) - quad).T).mean()) / quad_side(quad)


def _distinct(sightings: list[_Sighting]) -> list[_Sighting]:
    """The best sighting of each face, best first."""
    best: list[_Sighting] = []
    for sighting in sorted(sightings, key=lambda s: -s.score):
        if not any(_same_face(sighting, other) for other in best):
            best.append(sighting)
    return best


def _same_face(a: _Sighting, b: _Sighting) -> bool:
    """True if the centres of two sightings are within a third of the larger quad's side."""
    first, second = ffhq_quad(a.points), ffhq_quad(b.points)
    apart = float(np.hypot(*(first.mean(axis=0) - second.mean(axis=0))))
    return apart <= max(quad_side(first), quad_side(second)) / 3
