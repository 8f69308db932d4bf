"""Faces found and cut out as FFHQ's authors cut theirs, with everything needed to put them back.

Coordinates are continuous with the photo's top left corner at (0, 0): pixel (row 0, column 0) covers [0, 1] × [0, 1]
and has its centre at (0.5, 0.5). A quad lists the corners of a crop in the order top left, bottom left, bottom right,
top right. Left and right are the picture's, not the person's.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oodinv.errors import NoFaceError
from oodinv.image import Pixels

Points = NDArray[np.float64]
DetectorName = Literal["yunet", "face-alignment"]


@dataclass(frozen=True, eq=False)
class Face:
    """A detected face in photo coordinates.

    points (5, 2): centre of the left eye, of the right eye, tip of the nose, left and right corner of the mouth.
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


# --- the FFHQ crop -------------------------------------------------------------------------------------------


def ffhq_quad(points: Points, crop_scale: float = 1.0) -> Points:
    """Oriented square around a face: points (5, 2) as in `Face` → corners (4, 2).

    crop_scale below 1 shrinks the square about its centre. Source: the FFHQ data set's `recreate_aligned_images`.
    """
    eye_left, eye_right, _, mouth_left, mouth_right = points
    eyes = (eye_left + eye_right) / 2
    eye_to_eye = eye_right - eye_left
    eye_to_mouth = (mouth_left + mouth_right) / 2 - eyes
    direction = eye_to_eye - _quarter_turn(eye_to_mouth)
    length = max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    x = direction * (length * crop_scale / max(np.hypot(*direction), 1e-9))
    return square(eyes + eye_to_mouth * 0.1, x)


def _quarter_turn(v: Points) -> Points:
    """(x, y) → (−y, x): to the picture's eye, a quarter turn clockwise."""
    return np.array([-v[1], v[0]])


def square(centre: Points, x: Points) -> Points:
    """Corners (4, 2) of the square with this centre (2,) and half its horizontal side x (2,)."""
    y = _quarter_turn(x)
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def scale_quad(quad: Points, factor: float) -> Points:
    """The quad enlarged about its centre."""
    centre = quad.mean(axis=0)
    return centre + (quad - centre) * factor


def quad_side(quad: Points) -> float:
    """Length of the top side in photo pixels."""
    return float(np.hypot(*(quad[3] - quad[0])))


def crop_to_photo(quad: Points, size: int) -> Points:
    """Affine matrix (2, 3) from the coordinates of a size × size crop to those of the photo."""
    return np.column_stack([(quad[3] - quad[0]) / size, (quad[1] - quad[0]) / size, quad[0]])


def transform(matrix: Points, points: Points) -> Points:
    """Applies an affine matrix (2, 3) to points (N, 2)."""
    moved: Points = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def crop(pixels: Pixels, quad: Points, size: int) -> Pixels:
    """The quad's content, upright, anti-aliased: photo uint8 (H, W, 3) → uint8 (size, size, 3).

    Where the quad leaves the photo, the photo is reflected, and fades to a blur and then to its median colour, as
    in FFHQ; unlike there, no pixel of the photo itself is blurred.

    Raises:
        ValueError: the quad and the photo don't overlap.
    """
    ratio = quad_side(quad) / size
    shrink = max(1, int(ratio / 2))
    region, quad = _region(pixels, quad, shrink)
    region, quad = _pad(region, quad)
    oversampling = math.ceil(ratio / shrink - 1e-6)
    if oversampling <= 1:
        return _resample(region, quad, size, 1, 0)
    margin = 3  # support of the Lanczos kernel in crop pixels
    fine = _resample(region, quad, size, oversampling, margin)
    inner = (margin * oversampling, margin * oversampling) + (oversampling * (margin + size),) * 2
    return np.array(Image.fromarray(fine).resize((size, size), Image.Resampling.LANCZOS, box=inner))


def _region(pixels: Pixels, quad: Points, shrink: int) -> tuple[Pixels, Points]:
    """Part of the photo under the quad, with room for interpolation, averaged over shrink × shrink blocks."""
    height, width = pixels.shape[:2]
    room = 4 * max(shrink, math.ceil(quad_side(quad) / 256))
    left, top = np.maximum(np.floor(quad.min(axis=0)).astype(int) - room, 0)
    right, bottom = np.minimum(np.ceil(quad.max(axis=0)).astype(int) + room, (width, height))
    if left >= right or top >= bottom:
        raise ValueError(f"the quad {quad.tolist()} lies outside the {width} × {height} photo")
    part = pixels[top:bottom, left:right]
    quad = (quad - (left, top)) / shrink
    if shrink == 1:
        return part, quad
    surplus = (-part.shape[0] % shrink, -part.shape[1] % shrink)
    part = cv2.copyMakeBorder(part, 0, surplus[0], 0, surplus[1], cv2.BORDER_REPLICATE)
    blocks = (part.shape[1] // shrink, part.shape[0] // shrink)
    return cv2.resize(part, blocks, interpolation=cv2.INTER_AREA), quad


def _pad(region: Pixels, quad: Points) -> tuple[Pixels, Points]:
    """Extends the region to cover the quad: reflection, fading to a blur and to the median colour."""
    room = 4
    size = np.array(region.shape[1::-1])
    before = np.maximum(np.ceil(room - quad.min(axis=0)).astype(int), 0)
    after = np.maximum(np.ceil(quad.max(axis=0) + room - size).astype(int), 0)
    if max(before.max(), after.max()) <= room:
        return region, quad
    (left, top), (right, bottom) = before, after
    padded = np.pad(region, ((top, bottom), (left, right), (0, 0)), mode="reflect").astype(np.float32)
    side = quad_side(quad)
    reach = np.maximum(np.stack([before, after]), 0.3 * side)  # the fade is at least this long, as in FFHQ
    fade_x = _outside(padded.shape[1], left, right, reach[:, 0])
    fade_y = _outside(padded.shape[0], top, bottom, reach[:, 1])
    fade = np.maximum(fade_y[:, None], fade_x)[..., None]
    padded += (_blur(padded, 0.02 * side) - padded) * np.minimum(3 * fade, 1)
    padded += (np.median(region, axis=(0, 1)).astype(np.float32) - padded) * np.minimum(fade, 1)
    return np.rint(padded).clip(0, 255).astype(np.uint8), quad + before


def _outside(length: int, before: int, after: int, reach: Points) -> NDArray[np.float32]:
    """Distance of each pixel from the unpadded stretch of an axis, in units of the reach on its side."""
    position = np.arange(length) + 0.5
    low = (before - position) / reach[0]
    high = (position - (length - after)) / reach[1]
    return np.maximum(np.maximum(low, high), 0).astype(np.float32)


def _blur(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur; a wide one is computed on a shrunken copy, which it could not tell from the original."""
    height, width = image.shape[:2]
    factor = max(1, int(sigma / 2))
    small_size = (max(1, width // factor), max(1, height // factor))
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(sigma / factor, 0.5))
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _resample(region: Pixels, quad: Points, size: int, oversampling: int, margin: int) -> Pixels:
    """Bicubic samples on a grid oversampling times as fine as the crop's, which margin crop pixels surround."""
    matrix = crop_to_photo(quad, size * oversampling)
    # OpenCV counts pixel centres from 0: move by half a pixel before and after.
    start = matrix[:, :2] @ np.full(2, 0.5 - margin * oversampling) + matrix[:, 2] - 0.5
    length = (size + 2 * margin) * oversampling
    return np.asarray(
        cv2.warpAffine(
            region,
            np.column_stack([matrix[:, :2], start]),
            (length, length),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        dtype=np.uint8,
    )


# --- YuNet -----------------------------------------------------------------------------------------------------

_OVERVIEW = 960  # longest side, in pixels, of the copy in which faces are searched
_LEVELS = ((320, 0.25), (_OVERVIEW, 0.0))  # canvas size, share of it left empty on each side: large faces, small faces
_TURNS = (45, 90, 135, 180, 225, 270, 315)  # degrees, tried where no upright face is certain
_CANDIDATE, _CERTAIN, _FACE = 0.5, 0.8, 0.6  # scores
_CHIP_SIZES = (192, 256, 320)  # sizes at which a candidate is looked at again, upright and filling the frame
_CHIP_SCALE = 1.5  # side of that frame in FFHQ quads


@dataclass(frozen=True, eq=False)
class _Sighting:
    points: Points
    score: float


class Yunet:
    """Detector of OpenCV (FaceDetectorYN) with five points; one network behind a lock."""

    name: DetectorName = "yunet"

    def __init__(self, path: Path) -> None:
        """path: the ONNX file of the catalog entry `yunet`."""
        self._network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), _CANDIDATE, 0.3, 5000)
        self._lock = threading.Lock()

    def detect(self, pixels: Pixels) -> list[Face]:
        """Faces in a photo uint8 (H, W, 3), from left to right; an empty list if there is none."""
        found = self._search(pixels, (0,))
        if not any(sighting.score >= _CERTAIN for sighting in found):
            found = self._search(pixels, (0, *_TURNS))
        kept = (sighting for sighting in found if sighting.score >= _FACE)
        faces = [Face(s.points, s.points, s.score, self.name) for s in kept]
        return sorted(faces, key=lambda face: float(face.points[:, 0].mean()))

    def _search(self, pixels: Pixels, turns: Sequence[int]) -> list[_Sighting]:
        overview, scale = _bounded(pixels, _OVERVIEW)
        candidates = []
        for turn in turns:
            for size, empty in _LEVELS:
                useful = min(size, 4 * max(overview.shape))
                canvas, matrix = _canvas(overview, turn, useful, empty)
                candidates += [_Sighting(transform(matrix, s.points) / scale, s.score) for s in self._look(canvas)]
        candidates = [candidate for candidate in candidates if _inside(candidate, pixels)]
        refined = (self._refine(pixels, candidate) for candidate in _distinct(candidates))
        return _distinct([s for s in refined if s is not None and _inside(s, pixels)])

    def _look(self, picture: Pixels) -> list[_Sighting]:
        """Runs the network on an RGB picture."""
        bgr = np.ascontiguousarray(picture[..., ::-1])
        with self._lock:
            self._network.setInputSize((bgr.shape[1], bgr.shape[0]))
            _, rows = self._network.detect(bgr)
        if rows is None:
            return []
        return [_Sighting(row[4:14].reshape(5, 2).astype(np.float64), float(row[14])) for row in rows]

    def _refine(self, pixels: Pixels, candidate: _Sighting) -> _Sighting | None:
        """Looks again at a candidate, upright, at several sizes and mirrored, and averages; None if unconfirmed.

        The score is the mean over all looks, 0 where nothing was seen, so chance finds lose.
        """
        quad = scale_quad(ffhq_quad(candidate.points), _CHIP_SCALE)
        chip = crop(pixels, quad, max(_CHIP_SIZES))
        matrix = crop_to_photo(quad, 1)
        seen = []
        for size in _CHIP_SIZES:
            small = np.asarray(cv2.resize(chip, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
            for mirrored in (False, True):
                sightings = self._look(small[:, ::-1] if mirrored else small)
                scaled = [_Sighting(s.points / size, s.score) for s in sightings]
                central = _central([_mirror(s) for s in scaled] if mirrored else scaled)
                if central is not None:
                    seen.append(central)
        if not seen:
            return None
        score = sum(s.score for s in seen) / (2 * len(_CHIP_SIZES))
        return _Sighting(transform(matrix, np.mean([s.points for s in seen], axis=0)), score)


def _inside(sighting: _Sighting, pixels: Pixels) -> bool:
    """Whether the face is centred in the photo; others are reflections in its padding."""
    centre = sighting.points.mean(axis=0)
    return bool((centre >= 0).all() and (centre <= pixels.shape[1::-1]).all())


def _bounded(pixels: Pixels, longest: int) -> tuple[Pixels, float]:
    """The photo, shrunk if it is larger than this, and its scale."""
    scale = min(1.0, longest / max(pixels.shape[:2]))
    if scale == 1.0:
        return pixels, 1.0
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8), scale


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


def _distinct(sightings: list[_Sighting]) -> list[_Sighting]:
    """The best sighting of each face, best first; centres within a quarter of a quad's side are one face."""
    kept: list[tuple[Points, float]] = []
    best = []
    for sighting in sorted(sightings, key=lambda s: -s.score):
        quad = ffhq_quad(sighting.points)
        centre, side = quad.mean(axis=0), quad_side(quad)
        if all(np.hypot(*(centre - c)) > 0.25 * max(side, s) for c, s in kept):
            kept.append((centre, side))
            best.append(sighting)
    return best
