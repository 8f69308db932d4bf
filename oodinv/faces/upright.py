"""Chooses the orientation of photos whose EXIF and XMP contradict each other, by the face.

EXIF 1 with XMP 6 is written by two kinds of programs: those that rotate the pixels and forget XMP, and those that
rewrite EXIF without regard to the pixels. Only the picture can decide.
"""

from collections.abc import Callable

import numpy as np

from oodinv.faces.detectors.base import Detector, Face
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.quads import Points, quad_side
from oodinv.imaging.photo import Photo

CLEARLY = 0.5
"""Difference of cosines to the vertical by which XMP's orientation must be better to override EXIF's."""


def settled(photo: Photo, detector: Detector, decode: Callable[[int], Photo]) -> Photo:
    """Returns the photo in the orientation with its largest face upright: EXIF's, unless the other is clearly better.

    decode: decodes the photo again for an orientation, 1 to 8. Photos without contradictions are returned as they are.
    """
    if photo.disputed is None:
        return photo
    faces = detector.detect(photo.pixels)
    if not faces:
        other = decode(photo.disputed)
        return other if detector.detect(other.pixels) else photo
    largest = max(faces, key=lambda face: quad_side(ffhq_quad(face.points)))
    stored = _stored(_downwards(largest), photo.orientation)
    gain = _undone(stored, photo.disputed)[1] - _undone(stored, photo.orientation)[1]
    return decode(photo.disputed) if gain > CLEARLY else photo


def _downwards(face: Face) -> Points:
    """Unit vector (2,) from the eyes to the mouth."""
    left_eye, right_eye, _, left_corner, right_corner = face.points
    down = left_corner + right_corner - left_eye - right_eye
    return np.asarray(down / max(float(np.hypot(*down)), 1e-9))


def _undone(vector: Points, orientation: int) -> Points:
    """Rotates a vector (x, y) of the stored picture to the upright one, like `imaging.metadata.upright`."""
    x, y = vector[::-1] if orientation >= 5 else vector
    return np.array([-x if orientation in (2, 3, 6, 7) else x, -y if orientation in (3, 4, 7, 8) else y])


def _stored(vector: Points, orientation: int) -> Points:
    """The inverse of `_undone`."""
    return _undone(vector, {6: 8, 8: 6}.get(orientation, orientation))
